/** The keyboard. Keys do nothing while someone types or a dialog is open; arrows move only inside the hits. */
import { askItem, mark, undo } from './actions.js';
import { activate, activeHit, closeContext, compareHit, openContext, openDialog } from './looking.js';
import { change, now } from './store.js';

export const KEYS = [
  ['← ↑ ↓ →', 'move through the hits', 'Home and End go to the first and the last'],
  ['Enter', 'show the hit in its slide', 'Esc closes it again'],
  ['m', 'more like this', 'the hit becomes the question'],
  ['+  −', 'relevant, not relevant', 'the order changes; the same key again takes the mark away'],
  ['u', 'undo', 'brings the question before back'],
  ['c', 'compare', 'beside the question, zoom linked in µm'],
  ['e', 'take away', 'CSV, GeoJSON, Parquet, contact sheet, session, link'],
  ['/', 'ask in words', ''],
  ['?', 'this help', ''],
];

/** Only hits that are seen are marked: on the map and on a slide they are out of sight, but for one in its context. */
const seenHit = (state) => (state.view === 'hits' || state.context ? activeHit(state) : null);

const isTyping = (target) =>
  target.closest('input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]');

const WITH_HIT = {
  m: askItem,
  c: compareHit,
  '+': (hit) => mark(hit, 1),
  '=': (hit) => mark(hit, 1),
  '-': (hit) => mark(hit, -1),
  '−': (hit) => mark(hit, -1),
};

const ANYWHERE = {
  e: () => now().result && openDialog('export'),
  u: undo,
  '?': () => openDialog('help'),
  '/': () => change({ tab: 'words' }),
  Escape: closeContext,
};

function focusWords() {
  requestAnimationFrame(() => document.getElementById('words')?.focus());
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (isTyping(event.target) || document.querySelector('dialog[open]')) return;
  const hit = seenHit(now());
  const inViewer = event.target.closest('.viewer, .map');
  if (inViewer && '+-=−'.includes(event.key)) return;
  if (WITH_HIT[event.key] && hit) WITH_HIT[event.key](hit);
  else if (ANYWHERE[event.key]) ANYWHERE[event.key]();
  else return;
  event.preventDefault();
  if (event.key === '/') focusWords();
}

/** The place that an arrow leads to; up and down keep the column. */
function target(key, at, count, columns) {
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (key === 'Home') return 0;
  if (key === 'End') return count - 1;
  const next = at + (steps[key] ?? 0);
  return next < 0 || next >= count ? at : next;
}

/** How many cards stand in the first row, as they are laid out now. */
function columnsOf(cards) {
  const tops = cards.map((card) => card.closest('.hit').offsetTop);
  const next = tops.findIndex((top) => top > tops[0] + 4);
  return next < 0 ? cards.length : next;
}

/** Arrow keys inside the hits: one card has the tab stop, and it moves. */
export function onGridKey(event) {
  const button = event.target.closest('.hit-open');
  if (!button) return;
  const buttons = [...event.currentTarget.querySelectorAll('.hit-open')];
  const at = buttons.indexOf(button);
  if (event.key === 'Enter') {
    event.preventDefault();
    openContext(activeHit(now()) ?? now().result.hits[at]);
    return;
  }
  if (!/^(Arrow|Home$|End$)/.test(event.key)) return;
  event.preventDefault();
  const next = buttons[target(event.key, at, buttons.length, columnsOf(buttons))];
  activate(next.dataset.id);
  next.focus();
}

export function listenToKeys() {
  document.addEventListener('keydown', onKey);
}
