/** One hit: its picture at the common scale, its score, its label with its source, and where it comes from. */
import { api } from './api.js';
import { askItem, mark } from './actions.js';
import { labelPlace, lookOf } from './colours.js';
import { html, useState } from './drawing.js';
import { IconButton, Swatch } from './icons.js';
import { activate, compareHit, openContext } from './looking.js';
import { magnificationText, placedIn, scaleBar } from './scale.js';
import { useStore } from './store.js';

const CLOSE = { close: 'close', related: 'related', weak: 'weak' };
const SOURCES = { expert: 'by an expert', dataset: 'of the dataset', predicted: 'predicted' };
const SHARP = 1.5;

const pxFor = (size) => Math.min(1024, Math.max(64, Math.ceil((size * SHARP) / 64) * 64));

function Picture({ hit, frame, shownUm }) {
  const [state, setState] = useState('loading');
  const placed = placedIn(frame, shownUm, hit);
  const bar = placed.isFitted ? null : scaleBar(shownUm / frame, frame * 0.4);
  const style = { width: `${placed.width}px`, height: `${placed.height}px` };
  return html`<span class=${`hit-frame ${state}`} style=${{ width: `${frame}px`, height: `${frame}px` }}>
    <img
      src=${api.thumbnailUrl(hit.id, pxFor(Math.max(placed.width, placed.height)))}
      alt=""
      draggable="false"
      loading="lazy"
      class=${placed.isFitted ? 'fitted' : ''}
      style=${style}
      onLoad=${() => setState('')}
      onError=${() => setState('broken')}
    />
    ${state === 'broken' && html`<span class="broken-text">picture not readable</span>`}
    <span class="corner" aria-hidden="true"
      >${placed.isFitted ? 'scale unknown' : placed.isCut ? 'middle part' : magnificationText(hit.mpp)}</span
    >
    ${bar && html`<span class="scale-bar" aria-hidden="true" style=${{ width: `${bar.px}px` }}>${bar.text}</span>`}
  </span>`;
}

/** Words that only a screen reader says. */
const Said = ({ children }) => html`<span class="visually-hidden">${children}</span>`;

const markedText = (sign) => (sign > 0 ? ', marked relevant' : sign < 0 ? ', marked not relevant' : '');

function Moved({ hit }) {
  const before = useStore((state) => state.changed?.ranks);
  if (!before) return null;
  const old = before.get(hit.id);
  if (old === undefined) return html`<span class="moved">new</span>`;
  return old === hit.rank
    ? null
    : html`<span class="moved">${old > hit.rank ? `↑${old - hit.rank}` : `↓${hit.rank - old}`}</span>`;
}

function Actions({ hit, sign, tabIndex }) {
  return html`<span class="hit-actions">
    <${IconButton}
      icon="plus"
      label=${`Hit ${hit.rank} is relevant`}
      title="Relevant (+)"
      tabIndex=${tabIndex}
      isPressed=${sign > 0}
      onClick=${() => mark(hit, 1)}
    />
    <${IconButton}
      icon="minus"
      label=${`Hit ${hit.rank} is not relevant`}
      title="Not relevant (−)"
      tabIndex=${tabIndex}
      isPressed=${sign < 0}
      onClick=${() => mark(hit, -1)}
    />
    <${IconButton}
      icon="again"
      label=${`More like hit ${hit.rank}`}
      title="More like this (m)"
      tabIndex=${tabIndex}
      onClick=${() => askItem(hit)}
    />
    <${IconButton}
      icon="compare"
      label=${`Compare hit ${hit.rank}`}
      title="Compare (c)"
      tabIndex=${tabIndex}
      onClick=${() => compareHit(hit)}
    />
    <${IconButton}
      icon="slide"
      label=${`Hit ${hit.rank} in its slide`}
      title="In its slide (Enter)"
      tabIndex=${tabIndex}
      onClick=${() => openContext(hit)}
    />
  </span>`;
}

export function HitCard({ hit, frame, shownUm }) {
  const isActive = useStore((state) => state.activeId) === hit.id;
  const sign = useStore((state) => state.marks)[hit.id]?.sign ?? 0;
  const index = useStore((state) => state.index);
  const tabIndex = isActive ? 0 : -1;
  const place = [hit.slide?.name, hit.patient].filter(Boolean).join(' · ');
  const marked = sign > 0 ? 'is-plus' : sign < 0 ? 'is-minus' : '';
  return html`<li class=${`hit ${isActive ? 'is-active' : ''} ${marked}`} style=${{ width: `${frame + 14}px` }}>
    <button type="button" class="hit-open" data-id=${hit.id} tabindex=${tabIndex}
      aria-current=${isActive ? 'true' : undefined} onFocus=${() => activate(hit.id)}
      onClick=${() => activate(hit.id)} onDblClick=${() => openContext(hit)}>
      <span class="hit-top"><span class="rank"><${Said}>Hit </${Said}>${hit.rank}</span><${Moved} hit=${hit} />
        <span class=${`closeness ${hit.closeness ?? ''}`}>${CLOSE[hit.closeness] ?? ''}</span>
        <span class="score"><${Said}>score </${Said}>${hit.score.toFixed(3)}</span></span>
      <span class="score-line"><span style=${{ width: `${Math.max(0, hit.score) * 100}%` }}></span></span>
      <${Picture} hit=${hit} frame=${frame} shownUm=${shownUm} />
      <span class="hit-label">${
        hit.label
          ? html`<${Swatch} look=${lookOf(labelPlace(index, hit.label))} /><span class="name">${hit.label}</span>`
          : html`<span class="quiet">no label</span>`
      }</span>
      <span class="hit-from quiet">${hit.label ? (SOURCES[hit.label_source] ?? 'source unknown') : ''}</span>
      <span class="hit-from quiet">${place}<${Said}>${markedText(sign)}</${Said}></span>
    </button>
    <${Actions} hit=${hit} sign=${sign} tabIndex=${tabIndex} />
  </li>`;
}
