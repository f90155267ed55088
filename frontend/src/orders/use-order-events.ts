import { useEffect, useState } from 'react';
import { apiUrl, fetchWithSession } from '../api/client';
import { queryClient } from '../api/query-client';
import { isReachable, subscribeConnection } from '../connection/connection';
import { followOrder, type Following, type OrderEvent } from './follow';
import { orderQuery } from './queries';

/** The order's events as they come. Ask for it by `key={id}`: it follows one order. */
export function useOrderEvents(id: string) {
  const [events, setEvents] = useState<OrderEvent[]>([]);
  const [state, setState] = useState<Following>('connecting');

  useEffect(() => {
    const controller = new AbortController();
    void followOrder({
      signal: controller.signal,
      open: (lastEventId, signal) =>
        fetchWithSession(
          new Request(apiUrl(`/api/orders/${id}/events`), {
            headers: lastEventId === null ? {} : { 'last-event-id': lastEventId },
            cache: 'no-store',
            credentials: 'include',
            signal,
          }),
        ),
      onEvent(event) {
        setEvents((before) =>
          before.some((known) => known.id === event.id) ? before : [...before, event],
        );
        // The payment changes with the status.
        void queryClient.invalidateQueries({ queryKey: orderQuery(id).queryKey });
      },
      onState: setState,
      wait: untilWorthwhile,
    });
    return () => controller.abort();
  }, [id]);

  return { events, state };
}

/** Waits, but not for longer than until the connection is back. */
function untilWorthwhile(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      unsubscribe();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const wasAway = !isReachable();
    const timer = setTimeout(done, milliseconds);
    const unsubscribe = subscribeConnection(() => {
      if (wasAway && isReachable()) done();
    });
    signal.addEventListener('abort', done);
  });
}
