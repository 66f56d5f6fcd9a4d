/** The embedding map: every item a point, near ones alike; colour by a column, choose with a lasso or from a list. */
import { api } from './api.js';
import { announce, failed, setOnly } from './actions.js';
import { lookOf } from './colours.js';
import { html, useEffect, useRef, useState } from './drawing.js';
import { Icon, IconButton, Swatch } from './icons.js';
import { openContext } from './looking.js';
import { NONE, columnOf, idsOf, rowsOf } from './map_data.js';
import { MapSurface } from './map_surface.js';
import { columnName } from './naming.js';
import { Options } from './options.js';
import { number, valueText } from './scale.js';
import { useStore } from './store.js';

const MOST_IDS = 5000;
const SHOWN = 12;

function useMap() {
  const [map, setMap] = useState(null);
  const load = () =>
    Promise.all([api.map(), api.mapPoints()]).then(
      ([about, points]) => setMap({ ...about, points }),
      (error) => failed(error, load, 'No map'),
    );
  useEffect(() => {
    load();
  }, []);
  return map;
}

function useColumn(map, name) {
  const [column, setColumn] = useState(null);
  useEffect(() => {
    if (!name) return undefined;
    let isGone = false;
    columnOf(name).then(
      (one) => !isGone && setColumn(one),
      (error) => announce(error.message),
    );
    return () => {
      isGone = true;
    };
  }, [map?.version, name]);
  return column;
}

const rowsWith = (column, code) => {
  const rows = [];
  column.codes.forEach((one, row) => one === code && rows.push(row));
  return rows;
};

const wordOf = (name) => (name === null ? 'no value' : valueText(name));

/** The values of the column: what a colour means, and a way to choose without a pointer. */
function Legend({ column, choose }) {
  const [isAll, setAll] = useState(false);
  const named = column.names.map((name, code) => ({ name, code, count: column.counts[code] }));
  const none = { name: null, code: NONE, count: column.nWithout };
  const order = [...named.sort((a, b) => b.count - a.count), ...(none.count ? [none] : [])];
  const shown = isAll ? order : order.slice(0, SHOWN);
  return html`<div class="legend">
    <h3>${columnName(column.name)}</h3>
    <ul>
      ${shown.map(
        ({ name, code, count }) =>
          html`<li key=${code}>
            <button
              type="button"
              class="legend-value"
              onClick=${() => choose(rowsWith(column, code), `${column.name} ${wordOf(name)}`)}
            >
              <${Swatch} look=${lookOf(code === NONE ? -1 : code)} /><span class="name">${wordOf(name)}</span
              ><span class="count">${number(count)}</span>
            </button>
          </li>`,
      )}
    </ul>
    ${
      shown.length < order.length &&
      html`<button type="button" class="link" onClick=${() => setAll(true)}>all ${order.length}</button>`
    }
  </div>`;
}

async function openRow(row) {
  try {
    const [id] = await idsOf([row]);
    openContext(await api.item(id));
  } catch (error) {
    announce(error.message);
  }
}

async function searchAmong(rows) {
  const ids = await idsOf(rows);
  await setOnly(ids, 'hits');
  announce(`Only the ${number(ids.length)} chosen items are searched`);
}

function Chosen({ chosen, clear }) {
  const [isOpen, setOpen] = useState(false);
  const only = useStore((state) => state.only);
  if (!chosen) {
    return html`<p class="hint">Draw around points with the lasso, or choose a value. A click opens an item.</p>
      ${
        only &&
        html`<button type="button" class="button small" onClick=${() => setOnly(null)}>Search all items again</button>`
      }`;
  }
  const { rows, name } = chosen;
  return html`<div class="chosen-items">
    <p><strong>${number(rows.length)} items</strong> <span class="quiet">${name}</span></p>
    <div class="row">
      <button
        type="button"
        class="button strong"
        disabled=${!rows.length || rows.length > MOST_IDS}
        onClick=${() => searchAmong(rows)}
      >
        Search only these
      </button>
      <button type="button" class="button" aria-expanded=${String(isOpen)} onClick=${() => setOpen(!isOpen)}>
        List
      </button>
      <button type="button" class="button" onClick=${clear}>Choose none</button>
    </div>
    ${rows.length > MOST_IDS && html`<p class="hint">At most ${number(MOST_IDS)} items; use the filters for more.</p>`}
    ${isOpen && html`<${ChosenList} rows=${rows} />`}
  </div>`;
}

function ChosenList({ rows }) {
  const [ids, setIds] = useState([]);
  useEffect(() => {
    idsOf(rows.slice(0, 100)).then(setIds, (error) => announce(error.message));
  }, [rows]);
  return html`<ol class="chosen-list">
    ${ids.map(
      (id) =>
        html`<li key=${id}>
          <button type="button" class="legend-value" onClick=${() => api.item(id).then(openContext)}>
            <img src=${api.thumbnailUrl(id, 64)} alt="" loading="lazy" /><code>${id}</code>
          </button>
        </li>`,
    )}
  </ol>`;
}

/** Rows of the hits on the map, so that they can be ringed. */
function useHitRows(map) {
  const result = useStore((state) => state.result);
  const [rows, setRows] = useState([]);
  useEffect(() => {
    if (!map || !result?.hits.length) return setRows([]);
    rowsOf(result.hits.map((hit) => hit.id)).then(setRows, (error) => announce(error.message));
    return undefined;
  }, [map?.version, result]);
  return rows;
}

export function MapView() {
  const map = useMap();
  const [name, setName] = useState(null);
  const [chosen, setChosen] = useState(null);
  const [tool, setTool] = useState('move');
  const surface = useRef(null);
  const chosenName = name ?? (map?.columns.includes('label') ? 'label' : map?.columns[0]);
  const column = useColumn(map, chosenName);
  const hits = useHitRows(map);
  if (!map) return html`<p class="hint">Opening the map…</p>`;
  const choose = (rows, what) => {
    setChosen({ rows, name: what });
    announce(`${rows.length} items chosen`);
  };
  const clear = () => setChosen(null);
  return html`<div class="map-view">
    <div class="slide-bar">
      <label class="row"
        >Colour by
        <select value=${chosenName} onChange=${(event) => setName(event.target.value)}>
          <${Options} pairs=${map.columns.map((one) => [one, columnName(one)])} chosen=${chosenName} />
        </select></label
      >
      <fieldset class="segments tools">
        <legend class="visually-hidden">What the pointer does</legend>
        ${[
          ['move', 'hand', 'Move'],
          ['lasso', 'lasso', 'Lasso'],
        ].map(
          ([value, icon, text]) =>
            html`<label key=${value}
              ><input
                type="radio"
                name="map-tool"
                value=${value}
                checked=${tool === value}
                onChange=${() => setTool(value)}
              /><span><${Icon} name=${icon} />${text}</span></label
            >`,
        )}
      </fieldset>
      <span class="viewer-buttons inline"
        ><${IconButton} icon="plus" label="Zoom in" onClick=${() => surface.current?.zoomBy(1.5)} /><${IconButton}
          icon="minus"
          label="Zoom out"
          onClick=${() => surface.current?.zoomBy(1 / 1.5)} /><${IconButton}
          icon="fit"
          label="Show all"
          onClick=${() => surface.current?.goHome()}
      /></span>
      <span class="quiet">${number(map.n)} items, ${map.method}</span>
    </div>
    <${MapSurface}
      map=${map}
      column=${column}
      chosen=${chosen?.rows ?? null}
      hits=${hits}
      tool=${tool}
      control=${surface}
      onLasso=${(rows) => (rows.length ? choose(rows, 'inside the lasso') : clear())}
      onPick=${openRow}
    />
    <div class="map-side">
      <${Chosen}
        chosen=${chosen}
        clear=${clear}
      />${column && html`<${Legend} key=${column.name} column=${column} choose=${choose} />`}
    </div>
  </div>`;
}
