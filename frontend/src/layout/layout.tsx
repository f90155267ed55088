import { Suspense, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { useLocation } from 'wouter';
import { SkeletonRows } from '../ui/skeleton';
import { ConnectionBanner } from './connection-banner';
import { ErrorBoundary } from './error-boundary';
import { Header } from './header';

export function Layout({ children }: { children: ReactNode }) {
  const { t } = useTranslation();
  const [path] = useLocation();
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="sr-only focus:not-sr-only focus:absolute focus:z-30 focus:bg-white focus:p-3 focus:text-brand"
      >
        {t('nav.skip')}
      </a>
      <Header />
      <ConnectionBanner />
      {/* As high as the window, so that the footer does not move while the page is being loaded. */}
      <main id="main" tabIndex={-1} className="min-h-dvh grow focus:outline-none">
        <ErrorBoundary path={path}>
          <Suspense fallback={<PageSkeleton />}>{children}</Suspense>
        </ErrorBoundary>
      </main>
      <footer className="mt-8 border-t border-line px-4 py-6 text-center text-sm text-muted">
        {t('footer')}
      </footer>
    </div>
  );
}

function PageSkeleton() {
  return (
    <div className="mx-auto max-w-6xl px-4 py-6">
      <SkeletonRows />
    </div>
  );
}
