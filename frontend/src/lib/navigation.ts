let path = location.pathname;
let unseen = false;

/** Notes each way to another page, for `takeNavigation`, and begins new pages at their top. */
export function watchNavigation() {
  for (const kind of ['pushState', 'replaceState', 'popstate']) {
    window.addEventListener(kind, () => {
      if (location.pathname === path) return;
      path = location.pathname;
      unseen = true;
      if (kind === 'pushState') window.scrollTo(0, 0);
    });
  }
}

/** Whether the page that asks has been navigated to, and not opened by the address bar. True once per navigation. */
export function takeNavigation(): boolean {
  const taken = unseen;
  unseen = false;
  return taken;
}
