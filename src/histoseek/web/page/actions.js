/** What a person can do. Each action changes the state; those that change the question search again. */
import { api, wasCancelled } from './api.js';
import { askedOf, isQuestion, rulesBody, weightOf, whatChanged } from './asked.js';
import { noteFocus } from './attention.js';
import { questionIn } from './permalink.js';
import { readPicture } from './picture.js';
import { RULES, beginAnew, change, now } from './store.js';
import { forgetVisits, isAt, noteVisit, questionOf, visited } from './visits.js';

const MOST_UNDO = 50;
const PATIENCE_S = 2;
let running = null;
let nextKey = 1;

export function announce(text) {
  change({ announced: text });
}

/** Keep the question as it is, so that `undo` brings it back. */
function remembered(state) {
  return [...state.past, questionOf(state)].slice(-MOST_UNDO);
}

/** Tell what went wrong; `retry` does again what failed, and is left out where that cannot help. */
export function failed(error, retry = null, title = error.title ?? 'Something went wrong') {
  if (wasCancelled(error)) return;
  if (error.status === 401) change({ session: { ...now().session, role: null, needs_key: true } });
  change({ problem: { title, text: error.message, retry } });
  announce(error.message);
}

/** Run one thing at a time: a new question cancels the one before. */
async function busyWith(work, retry) {
  running?.abort();
  const mine = new AbortController();
  running = mine;
  change({ busy: true, problem: null });
  try {
    return await work(mine.signal);
  } catch (error) {
    failed(error, retry);
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

function receive(result, view) {
  const { result: before, activeId, context } = now();
  const stays = result.hits.some((hit) => hit.id === activeId);
  const active = (stays && result.hits.find((hit) => hit.id === activeId)) || result.hits[0] || null;
  change({
    result: { ...result, asked: questionOf(now()) },
    changed: whatChanged(before, result),
    activeId: active?.id ?? null,
    context: context && active,
    view,
  });
  noteVisit();
  const first = result.hits[0];
  announce(first ? `${result.hits.length} hits, the first scores ${first.score.toFixed(2)}` : 'Nothing was found');
}

/** Ask what stands in the state. A new question shows its hits; a changed one leaves the view as it is. */
export async function search(view = null) {
  if (!isQuestion(now())) {
    running?.abort();
    change({ result: null, changed: null, busy: false, problem: null });
    noteVisit();
    return;
  }
  noteFocus();
  const result = await busyWith(
    (signal) => api.search(askedOf(now()), signal),
    () => search(view),
  );
  if (result) receive(result, view ?? now().view);
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
    activeId: isNew ? null : state.activeId,
  }));
}

export function ask(example) {
  noteFocus();
  withExample(example);
  return search('hits');
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
    failed(error, () => askItemId(id));
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
  noteFocus();
  const alone = { examples: [], ...rulesBody(now()) };
  const result = await busyWith(
    (signal) => api.searchPicture(picture.file, mpp, alone, signal),
    () => askPicture(picture, mpp),
  );
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
  if (now().examples.length === 1) receive(result, 'hits');
  else await search('hits');
}

function changeQuestion(part, view) {
  change((state) => ({ past: remembered(state), ...(typeof part === 'function' ? part(state) : part) }));
  return search(view);
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
export const setOnly = (only, view) => changeQuestion({ only }, view);

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
    return failed(error, () => mark(hit, sign));
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
async function askFragment() {
  const { hash } = location;
  const { version, examples, rules, filters, signs } = questionIn(hash);
  const known = examples.filter((one) => one.kind !== 'text' || now().index.has_text);
  const [filled, marked] = await Promise.all([Promise.all(known.map(withHit)), Promise.all(signs.map(withVector))]);
  if (location.hash !== hash) return;
  const marks = Object.fromEntries(marked.filter(Boolean));
  askAgain({ examples: filled.map((one) => ({ key: nextKey++, ...one })), rules, filters, only: null, marks });
  if (version && version !== now().index.version) {
    announce('This link was made for another version of the archive; hits may differ');
  }
  await search('hits');
}

/** A question that the address holds already. */
function askAgain(question) {
  noteFocus();
  change((state) => ({
    past: isQuestion(state) ? remembered(state) : state.past,
    ...question,
    changed: null,
    result: null,
    activeId: null,
  }));
  isAt(question.examples);
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
    failed(error, () => exportHits(format));
    return false;
  }
}

/** Where a session ended in the middle of work, that goes on: with what the server refused to whom it did not know. */
export async function logIn(key) {
  const { problem } = now();
  change({ session: await api.logIn(key) });
  await start();
  await problem?.retry?.();
}

/** End the session: the page forgets what was asked; the browser's own history keeps the addresses of it. */
export async function logOut() {
  running?.abort();
  try {
    await api.logOut();
  } catch (error) {
    if (error.status !== 401) return failed(error, logOut);
  }
  beginAnew({ session: { ...now().session, role: null } });
  return forgetVisits();
}

/** Back, Forward, and a link that is followed while the page is open change the address alone. */
export function followAddress() {
  const go = async ({ state }) => {
    if (!now().index) return;
    const question = visited(state?.step);
    if (!question) return askFragment();
    askAgain(question);
    return search('hits');
  };
  window.addEventListener('popstate', go);
}

/** The slides; a server that is not ready yet is asked once more. */
async function slidesOf() {
  try {
    return await api.slides();
  } catch (error) {
    if (error.status !== 503) throw error;
    await new Promise((done) => setTimeout(done, 1000 * (error.retryAfter ?? PATIENCE_S)));
    return api.slides();
  }
}

export async function loadSlides() {
  try {
    change({ slides: await slidesOf(), problem: null });
  } catch (error) {
    failed(error, loadSlides, 'No list of slides');
  }
}

/** First look at the server: who we are, what the archive is, and what the address asks. */
export async function start() {
  try {
    const session = await api.session();
    change({ session });
    if (session.needs_key && !session.role) return;
    const isFirst = !now().index;
    const listed = slidesOf().then(
      (slides) => ({ slides }),
      (error) => ({ slides: null, error }),
    );
    const [index, { slides, error }] = await Promise.all([api.index(), listed]);
    change({ index, slides, problem: null });
    document.title = `${index.name} · Histoseek`;
    if (isFirst && location.hash.length > 1) await askFragment();
    if (error) failed(error, loadSlides, 'No list of slides');
  } catch (error) {
    failed(error, start);
  }
}
