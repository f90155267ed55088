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
  whenIdle(() => void loadShop());
}

/** Not before the first page is there, with what it shows: until then nothing else may take its bandwidth. */
function whenIdle(work: () => void) {
  setTimeout(() => {
    // Safari has no idle moments to wait for.
    if ('requestIdleCallback' in window) requestIdleCallback(work, { timeout: 10_000 });
    else work();
  }, 2_000);
}

const root = document.getElementById('root');
if (root) void start(root);
