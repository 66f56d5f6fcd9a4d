/** The only place that talks to the server. Every call gives the answer or throws a Problem. */

const ROOT = new URL('api/v1/', document.baseURI);
const UNSAFE = new Set(['POST', 'PUT', 'PATCH', 'DELETE']);
let csrf = null;

/** What went wrong, in the server's words where it has some. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, retryAfter = null }) {
    super(detail || title);
    this.title = title;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

export const wasCancelled = (error) => error?.name === 'AbortError';

function headersFor(method, type) {
  const headers = type ? { 'Content-Type': type } : {};
  if (UNSAFE.has(method) && csrf) headers['X-CSRF-Token'] = csrf;
  return headers;
}

async function problemOf(answer) {
  let said = {};
  try {
    said = await answer.json();
  } catch {
    said = {};
  }
  const seconds = Number(answer.headers.get('Retry-After')) || null;
  const wait = answer.status === 429 ? `The server is busy; try again in ${seconds ?? 'a few'} s.` : null;
  const detail = typeof said.detail === 'string' ? said.detail : (wait ?? `The server answered ${answer.status}.`);
  return new Problem({ title: said.title ?? 'The server refused', detail, status: answer.status, retryAfter: seconds });
}

async function send(path, { method = 'GET', body, type, signal } = {}) {
  let answer;
  try {
    answer = await fetch(new URL(path, ROOT), {
      method,
      body,
      signal,
      headers: headersFor(method, type),
      credentials: 'same-origin',
    });
  } catch (error) {
    if (wasCancelled(error)) throw error;
    throw new Problem({
      title: 'No answer',
      detail: 'The server does not answer. Is `histoseek serve` still running?',
    });
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

const get = async (path, signal) => (await send(path, { signal })).json();

const postJson = (path, value, signal) =>
  send(path, { method: 'POST', body: JSON.stringify(value), type: 'application/json', signal });

const post = async (path, value, signal) => (await postJson(path, value, signal)).json();

function remember(session) {
  csrf = session.csrf;
  return session;
}

function nameIn(answer, fallback) {
  const found = /filename="?([^";]+)"?/.exec(answer.headers.get('Content-Disposition') ?? '');
  return found ? found[1] : fallback;
}

export const api = {
  session: async () => remember(await get('session')),
  logIn: async (key) => remember(await post('session', { key })),
  async logOut() {
    await send('session', { method: 'DELETE' });
    csrf = null;
  },
  index: () => get('index'),
  search: (asked, signal) => post('search', asked, signal),
  async searchPicture(file, mpp, asked, signal) {
    const form = new FormData();
    form.append('picture', file, 'picture');
    if (mpp) form.append('mpp', String(mpp));
    form.append('asked', JSON.stringify(asked));
    return (await send('search/image', { method: 'POST', body: form, signal })).json();
  },
  item: (id) => get(`items/${id}`),
  slides: () => get('slides'),
  slide: (id) => get(`slides/${id}`),
  heat: (asked, slide) => post('heat', { ...asked, slide }),
  map: () => get('map'),
  mapPoints: async () => new Float32Array(await (await send('map/points')).arrayBuffer()),
  mapRows: (ids) => get(`map/rows?ids=${ids}`),
  mapIds: (rows) => get(`map/ids?rows=${rows}`),
  mapColumn: (name) => get(`map/columns/${encodeURIComponent(name)}`),
  async exportHits(format, asked) {
    const answer = await postJson(`export?format=${format}`, asked);
    return { name: nameIn(answer, `histoseek.${format}`), blob: await answer.blob() };
  },
  /** Addresses that an image or the viewer loads by itself, with the session's cookie. */
  thumbnailUrl: (id, px) => new URL(`items/${id}/thumbnail?px=${px}`, ROOT).href,
  tilesUrl: (slide) => new URL(`slides/${slide}.dzi`, ROOT).href,
  slideTileUrl: (slide, level, column, row) =>
    new URL(`slides/${slide}_files/${level}/${column}_${row}.jpg`, ROOT).href,
  heatTileUrl: (slide, query, level, column, row) =>
    new URL(`slides/${slide}/heat/${query}/${level}/${column}_${row}.png`, ROOT).href,
};
