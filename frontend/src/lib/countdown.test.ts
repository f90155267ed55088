import { act, createElement } from 'react';
import { createRoot } from 'react-dom/client';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { useCountdown, waitBefore } from './countdown';

describe('waitBefore', () => {
  it('is what the API asks for', () => {
    expect(waitBefore(1, 7)).toBe(7);
  });

  it('doubles up to half a minute otherwise', () => {
    expect([1, 2, 3, 4, 5, 6].map((failures) => waitBefore(failures, null))).toEqual([
      2, 4, 8, 16, 30, 30,
    ]);
  });
});

describe('useCountdown', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('counts seconds, ends once, and starts over with another key', () => {
    const onEnd = vi.fn();
    const container = document.createElement('div');
    const root = createRoot(container);
    function Probe({ id }: { id: string }) {
      return String(useCountdown(3, id, onEnd));
    }
    const show = (id: string) => {
      act(() => {
        root.render(createElement(Probe, { id }));
      });
    };
    const pass = (milliseconds: number) => {
      act(() => {
        vi.advanceTimersByTime(milliseconds);
      });
    };

    show('first');
    expect(container.textContent).toBe('3');
    pass(1000);
    expect(container.textContent).toBe('2');
    pass(5000);
    expect(container.textContent).toBe('0');
    expect(onEnd).toHaveBeenCalledTimes(1);
    show('second');
    expect(container.textContent).toBe('3');
    pass(3000);
    expect(onEnd).toHaveBeenCalledTimes(2);
    act(() => {
      root.unmount();
    });
  });
});
