/** From what the page knows to what the API is asked, and back from what a person would read. */

const PLUS_MARK = 0.5;
const MINUS = -0.5;

/** An example as the API takes it; a picture goes as the vector that its upload gave. */
export function exampleBody(example) {
  const body = { weight: example.weight };
  if (example.kind === 'item') body.item = example.item;
  else if (example.kind === 'text') body.text = example.text;
  else if (example.kind === 'region') body.region = example.region;
  else Object.assign(body, { vector: example.vector, file: example.file ?? null });
  return body;
}

/** Marked hits go as vectors: as items they would hide all hits of their own patients. */
function markBodies(marks) {
  return Object.values(marks).map((mark) => ({ vector: mark.vector, weight: mark.sign > 0 ? PLUS_MARK : MINUS }));
}

export function filterBodies(filters) {
  return Object.entries(filters).map(([column, filter]) => ({ column, ...filter }));
}

export function rulesBody({ filters, rules, only }) {
  return { ...rules, filters: filterBodies(filters), only };
}

/** The question as `POST /search` takes it. */
export function askedOf(state) {
  const examples = [...state.examples.map(exampleBody), ...markBodies(state.marks)];
  return { examples, ...rulesBody(state) };
}

export const weightOf = (adding) => (adding === 'minus' ? MINUS : 1);

export const isQuestion = (state) => state.examples.length > 0;

/** What a change did to the order: how many hits are new, and how many moved. */
export function whatChanged(before, after) {
  if (!before?.hits.length) return null;
  const old = new Map(before.hits.map((hit) => [hit.id, hit.rank]));
  const fresh = after.hits.filter((hit) => !old.has(hit.id)).length;
  const up = after.hits.filter((hit) => old.has(hit.id) && hit.rank < old.get(hit.id)).length;
  const down = after.hits.filter((hit) => old.has(hit.id) && hit.rank > old.get(hit.id)).length;
  const parts = [fresh && `${fresh} new`, up && `${up} moved up`, down && `${down} moved down`].filter(Boolean);
  return { text: parts.length ? parts.join(', ') : 'same order as before', ranks: old };
}
