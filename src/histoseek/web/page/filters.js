/** Filters from the archive's own columns, with how many items have each value. */
import { clearFilters, setFilter, setOnly } from './actions.js';
import { isNarrow } from './attention.js';
import { html, useEffect, useState } from './drawing.js';
import { labelPlace, lookOf } from './colours.js';
import { Swatch } from './icons.js';
import { columnName, columnValue } from './naming.js';
import { number, valueText } from './scale.js';
import { useStore } from './store.js';

const MANY = 10;

function toggled(values, value) {
  return values.includes(value) ? values.filter((one) => one !== value) : [...values, value];
}

function Value({ column, one, chosen }) {
  const index = useStore((state) => state.index);
  const isOn = chosen.includes(one.value);
  const hasSwatch = column.name === 'label' && one.value !== null;
  const choose = () => {
    const values = toggled(chosen, one.value);
    setFilter(column.name, values.length ? { values } : null);
  };
  return html`<li>
    <label class="value"
      ><input type="checkbox" checked=${isOn} onChange=${choose} />
      ${hasSwatch && html`<${Swatch} look=${lookOf(labelPlace(index, one.value))} />`}
      <span class="name">${columnValue(column.name, one.value)}</span
      ><span class="count">${number(one.count)}</span></label
    >
  </li>`;
}

function Values({ column, filter }) {
  const [part, setPart] = useState('');
  const [isAll, setAll] = useState(false);
  const chosen = filter?.values ?? [];
  const holds = (value) => columnValue(column.name, value).toLowerCase().includes(part.toLowerCase());
  const found = column.values.filter((one) => holds(one.value));
  const shown = isAll ? found : found.slice(0, MANY);
  return html`${
      column.values.length > MANY &&
      html`<input
        type="search"
        class="find"
        placeholder="find a value"
        aria-label=${`Find a value of ${columnName(column.name)}`}
        value=${part}
        onInput=${(event) => setPart(event.target.value)}
      />`
    }
    <ul class="values">
      ${shown.map((one) => html`<${Value} key=${String(one.value)} column=${column} one=${one} chosen=${chosen} />`)}
    </ul>
    ${
      shown.length < found.length &&
      html`<button type="button" class="link" onClick=${() => setAll(true)}>all ${found.length}</button>`
    }`;
}

/** Dates are shown, and compared, by the year, unless the server keeps names. */
const isByYear = (column) => column.kind === 'date' && /^\d{4}$/.test(column.min ?? '');

/** What was typed as the filter takes it; undefined for what is no such value. */
function typed(column, text) {
  if (text === '') return null;
  if (column.kind === 'date') return isByYear(column) && !/^\d{4}$/.test(text) ? undefined : text;
  const value = Number(text.replace(',', '.'));
  return Number.isFinite(value) ? value : undefined;
}

/** One end of a range. What cannot be taken stays in the field with a sentence, and the filter as it was. */
function End({ column, end, word, value, set }) {
  const [refused, setRefused] = useState(null);
  useEffect(() => setRefused(null), [value]);
  const id = `range-${column.name}-${end}`;
  const type = column.kind === 'date' && !isByYear(column) ? 'date' : 'text';
  const onChange = (event) => {
    const text = event.target.value.trim();
    const taken = typed(column, text);
    setRefused(taken === undefined ? text : null);
    if (taken !== undefined) set(end, taken);
  };
  return html`<label
    ><span class="visually-hidden">${columnName(column.name)} </span>${word}
    <input
      type=${type}
      inputmode="decimal"
      value=${refused ?? value ?? ''}
      placeholder=${valueText(column[end])}
      aria-invalid=${String(refused !== null)}
      aria-describedby=${refused === null ? undefined : id}
      onChange=${onChange}
    />${
      refused !== null &&
      html`<span id=${id} class="refused" role="alert"
        >Give a ${column.kind === 'date' ? 'year' : 'number'}, such as ${valueText(column[end])}.</span
      >`
    }</label
  >`;
}

function Range({ column, filter }) {
  const set = (end, value) => {
    const next = { ...filter, [end]: value };
    const ends = Object.fromEntries(Object.entries(next).filter(([, one]) => one !== null && one !== undefined));
    setFilter(column.name, Object.keys(ends).length ? ends : null);
  };
  return html`<div class="range">
    <${End} column=${column} end="min" word="from" value=${filter?.min} set=${set} />
    <${End} column=${column} end="max" word="to" value=${filter?.max} set=${set} />
  </div>`;
}

function ColumnFilter({ column, isOpen }) {
  const filter = useStore((state) => state.filters[column.name]);
  const chosen = filter?.values?.length ?? (filter ? 1 : 0);
  return html`<details class="filter" open=${isOpen || chosen > 0}>
    <summary>${columnName(column.name)}${chosen > 0 && html` <span class="chosen">${chosen} chosen</span>`}</summary>
    <${column.values ? Values : Range} column=${column} filter=${filter} />
  </details>`;
}

/** A column whose items all have one value tells nothing apart. */
const tellsApart = (column) => (column.values ? column.values.length > 1 : column.min !== column.max);

export function Filters() {
  const columns = (useStore((state) => state.index?.columns) ?? []).filter(tellsApart);
  const only = useStore((state) => state.only);
  const isFiltered = useStore((state) => Object.keys(state.filters).length > 0 || state.only !== null);
  if (!columns.length) return null;
  return html`<details class="filters" open=${!isNarrow()}>
    <summary><h3>Only among</h3>${isFiltered && html` <span class="chosen">in force</span>`}</summary>
    <button type="button" class="link all" disabled=${!isFiltered} onClick=${clearFilters}>All</button>
    ${
      only &&
      html`<p class="row chosen-on-map">
        <span>${number(only.length)} items chosen on the map</span>
        <button type="button" class="link" onClick=${() => setOnly(null)}>All items</button>
      </p>`
    }
    ${columns.map((column, at) => html`<${ColumnFilter} key=${column.name} column=${column} isOpen=${at === 0} />`)}
  </details>`;
}
