/** What a person can do. Each action changes the state; those that change the question search again. */
import { api, wasCancelled } from './api.js';
import { askedOf, isQuestion, rulesBody, weightOf, whatChanged } from './asked.js';
import { fragmentOf, questionIn } from './permalink.js';
import { readPicture } from './picture.js';
import { RULES, change, now } from './store.js';

const MOST_UNDO = 50;
let running = null;
let nextKey = 1;

const questionOf = ({ examples, filters, only, rules, marks }) => ({ examples, filters, only, rules, marks });

export function announce(text) {
  change({ announced: text });
}

/** Keep the question as it is, so that `undo` brings it back. */
function remembered(state) {
  return [...state.past, questionOf(state)].slice(-MOST_UNDO);
}

function failed(error) {
  if (wasCancelled(error)) return;
  if (error.status === 401) change({ session: { ...now().session, role: null, needs_key: true } });
  change({ problem: { title: error.title ?? 'Something went wrong', text: error.message } });
  announce(error.message);
}

/** Run one thing at a time: a new question cancels the one before. */
async function busyWith(work) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  change({ busy: true, problem: null });
  try {
    return await work(mine.signal);
  } catch (error) {
    failed(error);
    return null;
  } finally {
    if (running === mine) change({ busy: false });
  }
}

export function cancel() {
  running?.abort();
  running = null;
  change({ busy: false, pending: null });
  announce('Cancelled');
}

function receive(result) {
  const { result: before, activeId, context } = now();
  const stays = result.hits.some((hit) => hit.id === activeId);
  const active = (stays && result.hits.find((hit) => hit.id === activeId)) || result.hits[0] || null;
  change({
    result,
    changed: whatChanged(before, result),
    activeId: active?.id ?? null,
    context: context && active,
    view: 'hits',
  });
  history.replaceState(null, '', `#${fragmentOf(now()).fragment}`);
  const first = result.hits[0];
  announce(first ? `${result.hits.length} hits, the first scores ${first.score.toFixed(2)}` : 'Nothing was found');
}

/** Ask what stands in the state. */
export async function search() {
  if (!isQuestion(now())) {
    running?.abort();
    change({ result: null, changed: null, busy: false, problem: null });
    history.replaceState(null, '', `#${fragmentOf(now()).fragment}`);
    return;
  }
  const result = await busyWith((signal) => api.search(askedOf(now()), signal));
  if (result) receive(result);
}

function withExample(example) {
  const { adding, examples } = now();
  const isNew = adding === 'new' || !examples.length;
  const one = { key: nextKey++, ...example, weight: isNew ? 1 : weightOf(adding) };
  change((state) => ({
    past: isQuestion(state) ? remembered(state) : state.past,
    examples: isNew ? [one] : [...state.examples, one],
    marks: isNew ? {} : state.marks,
    changed: null,
    result: isNew ? null : state.result,
  }));
}

export function ask(example) {
  withExample(example);
  return search();
}

export const askWords = (text) => ask({ kind: 'text', text });
export const askRegion = (region, caption) => ask({ kind: 'region', region, caption });

/** More like this: the item becomes the whole question. */
export function askItem(hit) {
  change({ adding: 'new' });
  return ask({ kind: 'item', item: hit.id, hit });
}

export async function askItemId(id) {
  try {
    await ask({ kind: 'item', item: id, hit: await api.item(id) });
  } catch (error) {
    failed(error);
  }
}

/** A picture came in; its scale is asked for where the file does not state one. */
export async function takePicture(file) {
  change({ tab: 'image', problem: null });
  try {
    const picture = await readPicture(file);
    change({ pending: picture });
    if (picture.mpp && !picture.blank) await askPicture(picture, picture.mpp);
    else announce('The picture is here; say how large its pixels are');
  } catch (error) {
    failed(error);
  }
}

/** Send a picture; afterwards its vector stands for it, so nothing is uploaded twice. */
export async function askPicture(picture, mpp) {
  const alone = { examples: [], ...rulesBody(now()) };
  const result = await busyWith((signal) => api.searchPicture(picture.file, mpp, alone, signal));
  if (!result) return;
  withExample({
    kind: 'picture',
    vector: result.query.vector,
    file: result.query.file,
    caption: picture.name,
    preview: picture.preview,
    mpp,
  });
  change({ pending: null });
  if (now().examples.length === 1) receive(result);
  else await search();
}

function changeQuestion(part) {
  change((state) => ({ past: remembered(state), ...(typeof part === 'function' ? part(state) : part) }));
  return search();
}

export const removeExample = (key) =>
  changeQuestion((state) => {
    const examples = state.examples.filter((one) => one.key !== key);
    return { examples, marks: examples.length ? state.marks : {} };
  });

export const turnExample = (key) =>
  changeQuestion((state) => ({
    examples: state.examples.map((one) =>
      one.key === key ? { ...one, weight: one.weight > 0 ? weightOf('minus') : 1 } : one,
    ),
  }));

export const clearQuestion = () => changeQuestion({ examples: [], marks: {}, context: null });
export const setRule = (name, value) => changeQuestion((state) => ({ rules: { ...state.rules, [name]: value } }));
export const clearFilters = () => changeQuestion({ filters: {}, only: null });
/** Search only among these items, chosen on the map; null lets all in again. */
export const setOnly = (only) => changeQuestion({ only });

/** `filter` is {values} or {min, max}; null takes the column's filter away. */
export function setFilter(column, filter) {
  return changeQuestion((state) => {
    const filters = { ...state.filters };
    if (filter) filters[column] = filter;
    else delete filters[column];
    return { filters };
  });
}

/** The vector of an item, as marks go with it. */
async function vectorOf(id) {
  const rules = { ...RULES, k: 1, exclude_group: false, per_slide: null, collapse: false };
  return (await api.search({ examples: [{ item: id }], ...rules })).query.vector;
}

/** Mark a hit as relevant (+1) or not (−1); the same mark again takes it away. */
export async function mark(hit, sign) {
  const { marks } = now();
  if (marks[hit.id]?.sign === sign) {
    const { [hit.id]: _, ...rest } = marks;
    return changeQuestion({ marks: rest });
  }
  try {
    const vector = marks[hit.id]?.vector ?? (await vectorOf(hit.id));
    return await changeQuestion((state) => ({ marks: { ...state.marks, [hit.id]: { sign, vector } } }));
  } catch (error) {
    return failed(error);
  }
}

export function undo() {
  const { past } = now();
  if (!past.length) return announce('Nothing to undo');
  change({ ...past.at(-1), past: past.slice(0, -1) });
  announce('Undone');
  return search();
}

/** Take the question of the page's address, as a permalink brought it, when the page opens or the address changes. */
export async function askFragment() {
  if (!now().index) return;
  const { version, examples, rules, filters, signs } = questionIn(location.hash);
  const known = examples.filter((one) => one.kind !== 'text' || now().index.has_text);
  const [filled, marked] = await Promise.all([Promise.all(known.map(withHit)), Promise.all(signs.map(withVector))]);
  const marks = Object.fromEntries(marked.filter(Boolean));
  change((state) => ({
    past: isQuestion(state) ? remembered(state) : state.past,
    examples: filled.map((one) => ({ key: nextKey++, ...one })),
    rules,
    filters,
    only: null,
    marks,
    changed: null,
  }));
  if (version && version !== now().index.version) {
    announce('This link was made for another version of the archive; hits may differ');
  }
  await search();
}

async function withHit(example) {
  if (example.kind !== 'item') return example;
  return api.item(example.item).then(
    (hit) => ({ ...example, hit }),
    () => example,
  );
}

/** A mark of a link; none for an item that is not there any more. */
async function withVector([id, sign]) {
  return vectorOf(id).then(
    (vector) => [id, { sign, vector }],
    () => null,
  );
}

export async function exportHits(format) {
  try {
    const { name, blob } = await api.exportHits(format, askedOf(now()));
    const link = document.createElement('a');
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    announce(`Saved ${name}`);
    return true;
  } catch (error) {
    failed(error);
    return false;
  }
}

export async function logIn(key) {
  change({ session: await api.logIn(key) });
  await start();
}

/** A link that is followed while the page is open changes the fragment alone. */
export function followLinks() {
  window.addEventListener('hashchange', askFragment);
  return () => window.removeEventListener('hashchange', askFragment);
}

/** First look at the server: who we are, what the archive is, and what the address asks. */
export async function start() {
  try {
    const session = await api.session();
    change({ session });
    if (session.needs_key && !session.role) return;
    const [index, slides] = await Promise.all([api.index(), api.slides().catch(() => [])]);
    change({ index, slides, problem: null });
    document.title = `${index.name} · Histoseek`;
    if (location.hash.length > 1) await askFragment();
  } catch (error) {
    failed(error);
  }
}
