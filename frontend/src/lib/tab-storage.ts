/** What this tab keeps over reloads, and no other tab sees. */
export function readFromTab(name: string): string | null {
  try {
    return sessionStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Where the browser keeps nothing, a reload forgets it. */
export function keepInTab(name: string, text: string | null) {
  try {
    if (text === null) sessionStorage.removeItem(name);
    else sessionStorage.setItem(name, text);
  } catch {
    // As said above.
  }
}
