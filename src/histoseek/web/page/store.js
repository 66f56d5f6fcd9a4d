/** What the page knows, in one plain object; parts of the page draw again when what they chose from it changes. */
import { useEffect, useRef, useState } from './drawing.js';

export const RULES = { k: 25, exclude_group: true, collapse: true, per_slide: 3, min_score: null };

const FIRST = {
  session: null,
  index: null,
  slides: null,
  examples: [],
  filters: {},
  only: null,
  rules: RULES,
  marks: {},
  past: [],
  adding: 'new',
  pending: null,
  tab: 'image',
  view: 'hits',
  busy: false,
  problem: null,
  result: null,
  changed: null,
  activeId: null,
  context: null,
  slideId: null,
  compare: null,
  dialog: null,
  announced: '',
  frame: 156,
};

let state = FIRST;
const listeners = new Set();

export const now = () => state;

/** Change some fields; `part` is an object, or a function of the state that gives one. */
export function change(part) {
  state = { ...state, ...(typeof part === 'function' ? part(state) : part) };
  for (const listener of [...listeners]) listener();
}

/** As when the page opened, but for `part`. */
export function beginAnew(part) {
  change({ ...FIRST, ...part });
}

/** The part of the state that `choose` picks; the component draws again when that part is another value. */
export function useStore(choose) {
  const [, redraw] = useState(null);
  const chosen = choose(state);
  const last = useRef(chosen);
  last.current = chosen;
  useEffect(() => {
    const look = () => {
      if (!Object.is(last.current, choose(state))) redraw({});
    };
    look();
    listeners.add(look);
    return () => listeners.delete(look);
  }, []);
  return chosen;
}
