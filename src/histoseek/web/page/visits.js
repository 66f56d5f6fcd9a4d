/** Back and Forward of the browser: each new question is a step; marks and filters change the step that is there. */
import { fragmentOf } from './permalink.js';
import { now } from './store.js';

const MOST = 50;

/** Questions by step, pictures of one's own with them; a step of an earlier visit is asked from its address. */
const visits = new Map();
let examples = now().examples;
let nextStep = 1;

export const questionOf = ({ examples: asked, filters, only, rules, marks }) => ({
  examples: asked,
  filters,
  only,
  rules,
  marks,
});

/** The step that the browser stands on belongs to these examples from now on. */
export function isAt(those) {
  examples = those;
}

/** The page asks another question, or the same one in another way. */
export function noteVisit() {
  const isSame = now().examples === examples;
  const step = (isSame && history.state?.step) || `${performance.timeOrigin}-${nextStep++}`;
  const address = `#${fragmentOf(now()).fragment}`;
  if (isSame) history.replaceState({ step }, '', address);
  else history.pushState({ step }, '', address);
  isAt(now().examples);
  visits.set(step, questionOf(now()));
  if (visits.size > MOST) visits.delete(visits.keys().next().value);
}

export const visited = (step) => visits.get(step) ?? null;

/** After signing out: the page keeps no question, and its address asks none. */
export function forgetVisits() {
  visits.clear();
  isAt(now().examples);
  history.replaceState(null, '', location.pathname + location.search);
}
