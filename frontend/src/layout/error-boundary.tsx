import { Component, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from '../ui/button';

type Props = { path: string; children: ReactNode };
type State = { failedAt: string | null };

/** What is left when a page cannot be drawn, or its code cannot be loaded. */
export class ErrorBoundary extends Component<Props, State> {
  override state: State = { failedAt: null };

  static getDerivedStateFromError(): State {
    return { failedAt: location.pathname };
  }

  override render() {
    // Another page may well work where one has failed.
    return this.state.failedAt === this.props.path ? <Failed /> : this.props.children;
  }
}

function Failed() {
  const { t } = useTranslation();
  return (
    <div role="alert" className="mx-auto max-w-2xl px-4 py-12">
      <h1 className="mb-2 text-2xl font-bold">{t('failed.title')}</h1>
      <p className="mb-4">{t('failed.text')}</p>
      {/* A new version may have replaced the files that this page refers to. */}
      <Button onClick={() => location.reload()}>{t('failed.reload')}</Button>
    </div>
  );
}
