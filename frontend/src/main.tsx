import { QueryClientProvider } from '@tanstack/react-query';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { apiUrl, connectApi } from './api/client';
import { queryClient } from './api/query-client';
import { App, loadShop } from './app';
import { watchConnection } from './connection/connection';
import { startTranslations } from './i18n/i18n';
import './index.css';
import { readConfig } from './lib/config';
import { watchNavigation } from './lib/navigation';

/** An API that is stuck takes connections and says nothing. */
const PROBE_PATIENCE = 5000;

/** Within this time the first page is there, in ms, on a cheap phone too. */
const FIRST_PAGE = 2000;

async function start(root: HTMLElement) {
  const [config] = await Promise.all([readConfig(), startTranslations()]);
  connectApi(config.apiUrl);
  watchConnection(async () => {
    const signal = AbortSignal.timeout(PROBE_PATIENCE);
    return (await fetch(apiUrl('/api/health'), { signal })).ok;
  });
  watchNavigation();
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={queryClient}>
        <App />
      </QueryClientProvider>
    </StrictMode>,
  );
  // Not before the first page is there, with what it shows: until then nothing else may take its bandwidth.
  setTimeout(() => void loadShop(idleMoment), FIRST_PAGE);
}

function idleMoment(): Promise<void> {
  return new Promise((resolve) => {
    // Safari has no idle moments to wait for.
    if ('requestIdleCallback' in window) requestIdleCallback(() => resolve(), { timeout: 10_000 });
    else setTimeout(resolve, 100);
  });
}

const root = document.getElementById('root');
if (root) void start(root);
