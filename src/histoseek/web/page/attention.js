/** Where a person is: hits take the focus that their coming took away; narrow screens scroll to what came. */

/** Who asked from here, by Enter in the words or by a key on a hit, goes on among the hits that come. */
const ASKED_FROM = '.hit-grid, #words';

let from = null;

/** On a narrow screen the parts of the page stand one below the other; as style.css has it. */
export const isNarrow = () => matchMedia('(max-width: 640px)').matches;

export function bringIntoView(element) {
  if (isNarrow()) element?.scrollIntoView({ block: 'start' });
}

/** Remember where the focus is before a question takes that away. */
export function noteFocus() {
  if (document.activeElement !== document.body || !from) from = document.activeElement;
}

export function focusCard() {
  document.querySelector('.hit-open[tabindex="0"]')?.focus();
}

/**
 * Hits are drawn: the active one takes the focus if it was among them or is lost, never from where it was put since.
 * Other parts of the page may be drawn in the same turn, so that what they take away is gone only after it.
 */
export function followHits() {
  queueMicrotask(() => {
    const [before, at] = [from, document.activeElement];
    from = null;
    const isAmong = Boolean(before?.closest(ASKED_FROM));
    const isLost = at === document.body && before !== at && (isAmong || !before?.isConnected);
    if (isLost || (isAmong && at?.closest(ASKED_FROM))) focusCard();
  });
}
