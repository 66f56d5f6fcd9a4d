/** A hit where it lies: its slide zoomed to it, and all that the archive says of it. */
import { ask, askItem, mark } from './actions.js';
import { bringIntoView } from './attention.js';
import { html, useEffect, useRef } from './drawing.js';
import { Icon, IconButton } from './icons.js';
import { activate, closeContext, compareHit, openContext, openSlide } from './looking.js';
import { columnName } from './naming.js';
import { lengthText, magnificationText, mppText, valueText } from './scale.js';
import { boxShape, outlines } from './shapes.js';
import { hitSource } from './sources.js';
import { change, now, useStore } from './store.js';
import { Viewer, showBox } from './viewer.js';

const SOURCES = { expert: 'set by an expert', dataset: 'label of the dataset', predicted: 'predicted by a model' };

/** Columns that the lines above say already. */
const SAID = ['label_source', 'slide_width', 'slide_height', 'mpp', 'width', 'height'];

function sizeText(hit) {
  if (!hit.width_um) return 'unknown';
  const round = (um) => lengthText(Math.round(um));
  return `${round(hit.width_um)} × ${round(hit.height_um)}`;
}

function factsOf(hit) {
  const known = [
    ['Score', hit.score === undefined ? null : `${hit.score.toFixed(4)}${hit.closeness ? ` (${hit.closeness})` : ''}`],
    ['Label', hit.label ? `${hit.label}, ${SOURCES[hit.label_source] ?? 'source unknown'}` : null],
    ['Slide', hit.slide?.name],
    ['Patient', hit.patient],
    ['Size', sizeText(hit)],
    ['Scale', `${magnificationText(hit.mpp)}, ${mppText(hit.mpp)}`],
    ...Object.entries(hit.columns ?? {})
      .filter(([name]) => !SAID.includes(name))
      .map(([name, value]) => [columnName(name), valueText(value)]),
  ];
  return known.filter(([, value]) => value !== null && value !== undefined && value !== '–');
}

function Facts({ hit }) {
  const copy = () => navigator.clipboard?.writeText(hit.id);
  return html`<dl class="facts">
    ${factsOf(hit).map(
      ([name, value]) =>
        html`<div key=${name}>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>`,
    )}
    <div>
      <dt>Id</dt>
      <dd><code>${hit.id}</code> <button type="button" class="link" onClick=${copy}>copy</button></dd>
    </div>
  </dl>`;
}

function neighbour(hit, step) {
  const hits = now().result?.hits ?? [];
  return hits[hits.findIndex((one) => one.id === hit.id) + step] ?? null;
}

function Head({ hit }) {
  const go = (step) => {
    const next = neighbour(hit, step);
    if (next) openContext(next);
  };
  return html`<header class="context-head">
    <h2>${hit.rank ? `Hit ${hit.rank}` : 'Item'} in context</h2>
    ${
      hit.rank &&
      html`<${IconButton} icon="left" label="Hit before" isDisabled=${!neighbour(hit, -1)} onClick=${() => go(-1)} />
        <${IconButton} icon="right" label="Next hit" isDisabled=${!neighbour(hit, 1)} onClick=${() => go(1)} />`
    }
    <${IconButton} icon="close" label="Close the context" title="Close (Esc)" onClick=${closeContext} />
  </header>`;
}

function Actions({ hit }) {
  const isListed = useStore((state) => state.slides?.some((slide) => slide.id === state.context?.slide?.id));
  const sign = useStore((state) => state.marks)[hit.id]?.sign ?? 0;
  const add = (adding) => {
    change({ adding });
    ask({ kind: 'item', item: hit.id, hit });
  };
  return html`<div class="row context-actions">
    <button type="button" class="button" onClick=${() => askItem(hit)}><${Icon} name="again" />More like this</button>
    ${
      hit.rank &&
      html`<button type="button" class="button" aria-pressed=${String(sign > 0)} onClick=${() => mark(hit, 1)}>
          <${Icon} name="plus" />Relevant
        </button>
        <button type="button" class="button" aria-pressed=${String(sign < 0)} onClick=${() => mark(hit, -1)}>
          <${Icon} name="minus" />Not relevant
        </button>
        <button type="button" class="button" onClick=${() => compareHit(hit)}>
          <${Icon} name="compare" />Compare
        </button>`
    }
    <button type="button" class="button" onClick=${() => add('plus')}>Add to question</button>
    ${
      isListed &&
      html`<button type="button" class="button" onClick=${() => openSlide(hit.slide.id)}>
        <${Icon} name="slide" />Open slide
      </button>`
    }
  </div>`;
}

/** The viewer stays open from hit to hit of one slide, and only moves. */
function useBox(hit) {
  const held = useRef({ viewer: null, layer: null });
  const look = (immediately) => {
    const { viewer, layer } = held.current;
    if (!viewer || !layer || !hit.box) return;
    showBox(viewer, hit.box, 3, immediately);
    layer.show([boxShape(hit.box, 'is-hit is-active')]);
  };
  useEffect(() => look(false), [hit.id]);
  return (viewer) => {
    held.current = { viewer, layer: outlines(viewer) };
    look(true);
    return () => {
      held.current.layer?.remove();
      held.current = { viewer: null, layer: null };
    };
  };
}

function InSlide({ hit }) {
  const onOpen = useBox(hit);
  return html`<${Viewer}
      source=${hitSource(hit)}
      label=${hit.box ? `Slide ${hit.slide.name} at this hit` : 'The whole picture'}
      onOpen=${onOpen}
    />
    ${!hit.box && html`<p class="hint">A picture on its own; the archive does not know its slide.</p>`}`;
}

export function Context() {
  const hit = useStore((state) => state.context);
  const element = useRef(null);
  useEffect(() => {
    if (hit?.rank) activate(hit.id);
  }, [hit?.id]);
  useEffect(() => bringIntoView(element.current), [hit === null]);
  if (!hit) return null;
  return html`<aside ref=${element} class="context" aria-label="Context of a hit">
    <${Head} hit=${hit} />
    <${InSlide} key=${hit.slide?.id ?? hit.id} hit=${hit} />
    <${Actions} hit=${hit} /><${Facts} hit=${hit} />
  </aside>`;
}
