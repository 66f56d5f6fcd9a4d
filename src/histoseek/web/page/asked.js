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

/** Slides of which as many hits are shown as may be. */
function fullSlides(hits, perSlide) {
  const counts = new Map();
  for (const { slide } of hits) if (slide) counts.set(slide.id, (counts.get(slide.id) ?? 0) + 1);
  return [...counts.values()].filter((count) => count >= perSlide).length;
}

/** Why there are fewer hits than were asked for: the rules that were in force, and no guess which of them cut. */
export function tooFewText({ hits, asked }) {
  const { rules, filters, only, examples } = asked;
  if (hits.length >= rules.k) return null;
  const n = Object.keys(filters).length;
  const full = rules.per_slide === null ? 0 : fullSlides(hits, rules.per_slide);
  const inForce = [
    full && `at most ${rules.per_slide} a slide (${full === 1 ? 'one slide has' : `${full} slides have`} that many)`,
    rules.collapse && 'no near-duplicates',
    rules.exclude_group && examples.some((one) => one.kind !== 'text') && "not the question's own patient",
    n && (n === 1 ? 'one filter' : `${n} filters`),
    only && 'only the items chosen on the map',
    rules.min_score !== null && `scores of at least ${rules.min_score}`,
  ].filter(Boolean);
  const why = inForce.length ? `no more items keep to all of: ${inForce.join('; ')}` : 'the archive holds no more';
  return `${hits.length} of ${rules.k}: ${why}.`;
}

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
