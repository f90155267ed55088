import type { Page } from '@playwright/test';

/** Texts that are cut, stick out of the page or of their button, or lie over each other; and pictures that are broken. */
export function layoutFaults(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    type Line = { text: string; node: Node; rect: DOMRect };
    const faults: string[] = [];
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth > clientWidth)
      faults.push(`the page scrolls sideways by ${scrollWidth - clientWidth}`);
    window.scrollTo(0, 0);

    const isHidden = (element: Element) =>
      !element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) ||
      element.closest('option, script, style, [inert]') !== null ||
      ancestorsOf(element).some((each) => each.offsetWidth <= 1 && each.offsetHeight <= 1);

    function ancestorsOf(element: Element): HTMLElement[] {
      const all: HTMLElement[] = [];
      for (let each: Element | null = element; each; each = each.parentElement)
        if (each instanceof HTMLElement) all.push(each);
      return all;
    }

    function checkLine({ text, node, rect }: Line) {
      const element = node.parentElement;
      if (!element) return;
      for (const each of ancestorsOf(element)) {
        const style = getComputedStyle(each);
        const box = each.getBoundingClientRect();
        if (['auto', 'scroll'].includes(style.overflowX) && each !== document.body) return;
        const isClamped = style.webkitLineClamp !== 'none';
        const bounds = style.overflowX !== 'visible' || each.matches('button, .card');
        if (!bounds || style.display === 'inline') continue;
        if (rect.left < box.left - 1 || rect.right > box.right + 1)
          faults.push(`cut at a side: ${text}`);
        else if (!isClamped && (rect.top < box.top - 4 || rect.bottom > box.bottom + 4))
          faults.push(`cut above or below: ${text}`);
        if (isClamped) return;
      }
      if (rect.left < -1 || rect.right > clientWidth + 1) faults.push(`out of the page: ${text}`);
    }

    const dialog = document.querySelector('[role=alertdialog], [role=dialog]');
    const walker = document.createTreeWalker(dialog ?? document.body, NodeFilter.SHOW_TEXT);
    const lines: Line[] = [];
    while (walker.nextNode()) {
      const node = walker.currentNode;
      const text = node.textContent?.trim() ?? '';
      if (!text || !node.parentElement || isHidden(node.parentElement)) continue;
      const range = document.createRange();
      range.selectNodeContents(node);
      const clamped = ancestorsOf(node.parentElement).find(
        (each) => getComputedStyle(each).webkitLineClamp !== 'none',
      );
      // Lines beyond the last one that is shown.
      const bottom = clamped?.getBoundingClientRect().bottom ?? Infinity;
      for (const rect of range.getClientRects())
        if (rect.width > 1 && rect.top < bottom - 2) lines.push({ text, node, rect });
    }
    lines.forEach(checkLine);

    for (const [index, one] of lines.entries()) {
      for (const other of lines.slice(index + 1)) {
        if (one.node === other.node) continue;
        const width =
          Math.min(one.rect.right, other.rect.right) - Math.max(one.rect.left, other.rect.left);
        const height =
          Math.min(one.rect.bottom, other.rect.bottom) - Math.max(one.rect.top, other.rect.top);
        const isOver = width > 3 && height > 0.4 * Math.min(one.rect.height, other.rect.height);
        if (isOver) faults.push(`over each other: ${one.text} | ${other.text}`);
      }
    }

    // Without a connection there are only those that have been seen.
    for (const image of navigator.onLine ? document.images : [])
      if (image.complete && image.currentSrc && image.naturalWidth === 0)
        faults.push(`broken: ${image.src}`);
    return [...new Set(faults)];
  });
}
