/** What is kept under a name in localStorage, and a call for each change, made by this tab or another. */
export type Slot<T> = {
  read: () => T | null;
  write: (value: T | null) => void;
  subscribe: (listener: () => void) => () => void;
};

/**
 * Values are parsed once per change, so that `read` can serve `useSyncExternalStore`. Where the browser keeps nothing
 * (private windows, a full disk) the value lives as long as the page.
 */
export function slot<T>(name: string, isValid: (value: unknown) => value is T): Slot<T> {
  const listeners = new Set<() => void>();
  let text: string | null | undefined;
  let value: T | null = null;
  let isKept = true;

  function stored(): string | null {
    if (!isKept) return text ?? null;
    try {
      return localStorage.getItem(name);
    } catch {
      return text ?? null;
    }
  }

  function notify() {
    for (const listener of listeners) listener();
  }

  window.addEventListener('storage', (event) => {
    // `key` is null when another tab has cleared everything.
    if (event.key === name || event.key === null) notify();
  });

  return {
    read() {
      const current = stored();
      if (current !== text) {
        text = current;
        value = parse(current, isValid);
      }
      return value;
    },
    write(next) {
      text = next === null ? null : JSON.stringify(next);
      value = next;
      try {
        if (text === null) localStorage.removeItem(name);
        else localStorage.setItem(name, text);
        isKept = true;
      } catch {
        // What is stored is older now.
        isKept = false;
      }
      notify();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function parse<T>(text: string | null, isValid: (value: unknown) => value is T): T | null {
  if (text === null) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isValid(value) ? value : null;
  } catch {
    return null;
  }
}
