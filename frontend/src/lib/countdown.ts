import { useEffect, useEffectEvent, useState } from 'react';

const LONGEST_WAIT = 30;

/** Seconds before the next try: what the API asks for, else twice as long after each failure. */
export function waitBefore(failures: number, retryAfter: number | null): number {
  return retryAfter ?? Math.min(LONGEST_WAIT, 2 ** Math.max(1, failures));
}

/** Seconds left until `onEnd` is called; starts over whenever `key` changes. */
export function useCountdown(seconds: number, key: unknown, onEnd: () => void): number {
  const [state, setState] = useState({ key, left: seconds });
  if (state.key !== key) setState({ key, left: seconds });
  const end = useEffectEvent(onEnd);

  useEffect(() => {
    // Reckoned from the clock: a tab in the background is given few ticks.
    const deadline = Date.now() + seconds * 1000;
    const timer = setInterval(() => {
      const left = Math.max(0, Math.ceil((deadline - Date.now()) / 1000));
      setState({ key, left });
      if (left > 0) return;
      clearInterval(timer);
      end();
    }, 250);
    return () => clearInterval(timer);
  }, [seconds, key]);

  return state.left;
}
