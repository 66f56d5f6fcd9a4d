/** Moving about: which hit is active, which view is open, what is compared. None of it changes the question. */
import { announce } from './actions.js';
import { focusCard, isNarrow } from './attention.js';
import { change, now } from './store.js';

export const activeHit = ({ result, activeId }) => result?.hits.find((hit) => hit.id === activeId) ?? null;

export function activate(id) {
  const hit = now().result?.hits.find((one) => one.id === id);
  change((state) => ({ activeId: id, context: state.context && hit ? hit : state.context }));
}

export function openContext(hit) {
  change({ context: hit, activeId: hit.id });
}

/** Whoever was inside comes back to the hit; on a narrow screen it is out of sight else. */
export function closeContext() {
  if (!now().context) return;
  const isInside = document.activeElement?.closest('.context');
  change({ context: null });
  if (isInside || isNarrow()) focusCard();
}

export function openSlide(id) {
  change({ slideId: id, view: 'slide' });
}

export const show = (view) => change({ view });
export const openDialog = (dialog) => change({ dialog });
export const closeDialog = () => change({ dialog: null, compare: null });

/** What can be set side by side: examples with pixels, then hits. */
export function comparable(state) {
  const examples = state.examples
    .filter((one) => one.kind === 'region' || one.hit || one.preview)
    .map((example) => ({ id: `example-${example.key}`, name: `Question: ${example.caption ?? 'item'}`, example }));
  const hits = (state.result?.hits ?? []).map((hit) => ({
    id: hit.id,
    name: `Hit ${hit.rank}: ${hit.label ?? 'no label'}`,
    hit,
  }));
  return [...examples, ...hits];
}

/** Set a hit beside the question, or beside the first other hit where the question has no pixels. */
export function compareHit(hit) {
  const all = comparable(now());
  const other = all.find((one) => one.example) ?? all.find((one) => one.id !== hit.id);
  if (!other) return announce('There is nothing to compare it with');
  return change({ compare: { left: other.id, right: hit.id } });
}
