import { useSyncExternalStore } from 'react';
import { useTranslation } from 'react-i18next';
import { connectionState, subscribeConnection } from '../connection/connection';

/** Says on every page that the shop cannot be reached. It goes away by itself. */
export function ConnectionBanner() {
  const { t } = useTranslation();
  const state = useSyncExternalStore(subscribeConnection, connectionState);
  return (
    <div role="status" aria-live="polite">
      {state !== 'online' && (
        <p className="bg-ink px-4 py-2 text-center text-white">{t(`connection.${state}`)}</p>
      )}
    </div>
  );
}
