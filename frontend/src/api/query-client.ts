import { QueryClient } from '@tanstack/react-query';
import { isReachable, subscribeConnection } from '../connection/connection';
import { session } from '../session/session';

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      // Failures are shown with a countdown to the next try (`Trouble`), not hidden behind silent tries.
      retry: false,
    },
  },
});

let wasReachable = isReachable();
subscribeConnection(() => {
  const reachable = isReachable();
  // What could not be loaded meanwhile, or has changed, is loaded as soon as the shop is back.
  if (reachable && !wasReachable) void queryClient.invalidateQueries();
  wasReachable = reachable;
});

let owner = session.user()?.id;
session.subscribe(() => {
  const user = session.user()?.id;
  if (user === owner) return;
  owner = user;
  queryClient.removeQueries({ queryKey: ['private'] });
});
