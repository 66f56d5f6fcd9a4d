/** The hits: what they are, the grid at one physical scale, and what stands there when there are none. */
import { api } from './api.js';
import { askItemId, cancel } from './actions.js';
import { bringIntoView, followHits } from './attention.js';
import { tooFewText } from './asked.js';
import { html, Fragment, useEffect, useLayoutEffect, useRef, useState } from './drawing.js';
import { HitCard } from './hit_card.js';
import { onGridKey } from './keys.js';
import { openDialog } from './looking.js';
import { idsOf } from './map_data.js';
import { counted, frameUm, lengthText, number, patientsOf } from './scale.js';
import { change, useStore } from './store.js';
import { Vote } from './vote.js';

const SAMPLES = 8;
const WEAK = 'Not similar enough from here on: hits this far away were seldom of the same kind';
const UNCALIBRATED = 'Scores of this question are not calibrated: nothing tells weak from close.';
const FRAMES = [
  [112, 'S'],
  [156, 'M'],
  [248, 'L'],
];

function FrameSize() {
  const frame = useStore((state) => state.frame);
  return html`<fieldset class="segments small">
    <legend class="visually-hidden">Size of the pictures</legend>
    ${FRAMES.map(
      ([px, name]) =>
        html`<label key=${px} title=${`pictures of ${px} pixels`}
          ><input type="radio" name="frame" checked=${frame === px} onChange=${() => change({ frame: px })} /><span
            >${name}</span
          ></label
        >`,
    )}
  </fieldset>`;
}

function tookText({ took_ms: took }, shownUm) {
  const scale = shownUm ? `; each frame is ${lengthText(Math.round(shownUm))} wide` : '';
  return ` in ${Math.max(1, Math.round(took))} ms${scale} `;
}

function Bar({ result, shownUm }) {
  const busy = useStore((state) => state.busy);
  const changed = useStore((state) => state.changed);
  const { hits } = result;
  return html`<div class="hits-bar">
    <p class="hits-count">
      <strong>${counted(hits.length, 'hit')}</strong><span class="quiet">${tookText(result, shownUm)}</span>
      ${changed && html`<span class="changed">${changed.text}</span>`}
    </p>
    ${busy && html`<button type="button" class="button small" onClick=${cancel}>Cancel</button>`}
    <${FrameSize} />
    <button type="button" class="button" disabled=${!hits.length} onClick=${() => openDialog('export')}>
      Take away <kbd>e</kbd>
    </button>
  </div>`;
}

function Warnings({ warnings }) {
  return warnings.length
    ? html`<ul class="warnings">
        ${warnings.map((text) => html`<li key=${text} class="warning">${text}</li>`)}
      </ul>`
    : null;
}

/** Against counter-examples, and in words, cosines lie elsewhere than those that were measured. */
function Uncalibrated({ hits }) {
  const isMeasured = useStore((state) => Boolean(state.index?.reliability?.length));
  if (!isMeasured || hits.some((hit) => hit.closeness)) return null;
  return html`<p class="hint uncalibrated">${UNCALIBRATED}</p>`;
}

function TooFew({ result }) {
  const text = tooFewText(result);
  return text && html`<p class="hint too-few">${text}</p>`;
}

function Grid({ result, frame, shownUm }) {
  return html`<ul class="hit-grid" aria-label="Hits, most similar first" onKeyDown=${onGridKey}>
    ${result.hits.map(
      (hit) => html`<${Fragment} key=${hit.id}>
      ${hit.rank === result.first_weak && html`<li class="weak-line"><span>${WEAK}</span></li>`}
      <${HitCard} hit=${hit} frame=${frame} shownUm=${shownUm} />
    </${Fragment}>`,
    )}
  </ul>`;
}

function Skeletons({ frame }) {
  const element = useRef(null);
  useEffect(() => bringIntoView(element.current.closest('.found')), []);
  return html`<div ref=${element} class="hits-bar">
      <p class="hits-count">Searching…</p>
      <button type="button" class="button small" onClick=${cancel}>Cancel</button>
    </div>
    <ul class="hit-grid" aria-hidden="true">
      ${Array.from(
        { length: 12 },
        (_, at) =>
          html`<li key=${at} class="hit skeleton" style=${{ width: `${frame + 14}px` }}>
            <span class="bone line"></span
            ><span class="bone" style=${{ width: `${frame}px`, height: `${frame}px` }}></span
            ><span class="bone line"></span><span class="bone line short"></span>
          </li>`,
      )}
    </ul>`;
}

function Nothing() {
  return html`<div class="empty">
    <h3>Nothing was found</h3>
    <p>No item of the archive keeps to all filters and switches.</p>
    <p>Take a filter away on the left, allow more hits a slide, or let the question's own patient in.</p>
  </div>`;
}

/** A few items of the archive, spread over it, for who has nothing at hand. */
function Samples({ n }) {
  const [ids, setIds] = useState([]);
  useEffect(() => {
    const rows = Array.from({ length: Math.min(SAMPLES, n) }, (_, at) =>
      Math.floor(((at + 0.5) * n) / Math.min(SAMPLES, n)),
    );
    idsOf(rows).then(setIds, () => setIds([]));
  }, []);
  if (!ids.length) return null;
  return html`<div class="samples">
    <p>Or begin with one of these:</p>
    <ul>
      ${ids.map(
        (id, at) =>
          html`<li key=${id}>
            <button
              type="button"
              class="sample"
              aria-label=${`More like sample ${at + 1}`}
              onClick=${() => askItemId(id)}
            >
              <img src=${api.thumbnailUrl(id, 128)} alt="" />
            </button>
          </li>`,
      )}
    </ul>
  </div>`;
}

function Welcome() {
  const index = useStore((state) => state.index);
  const hasSlides = useStore((state) => (state.slides ?? []).length > 0);
  return html`<div class="empty welcome">
    <h3>Which other tissue looks like this?</h3>
    <p>${number(index.n_items)} items of ${patientsOf(index)} can be asked.</p>
    <ul class="ways">
      <li><strong>Drop a picture</strong> anywhere on this page, or paste one.</li>
      ${hasSlides && html`<li><strong>Open a slide</strong> on the left and draw a box on it.</li>`}
      ${index.has_text && html`<li><strong>Say it in words</strong>: press <kbd>/</kbd></li>`}
      ${index.has_map && html`<li><strong>Open the map</strong> above and choose an item.</li>`}
    </ul>
    ${index.has_map && html`<${Samples} n=${index.n_items} />`}
    <p class="quiet">Press <kbd>?</kbd> for the keyboard. What is found shows likeness, not a diagnosis.</p>
  </div>`;
}

export function Failure({ problem, canClose = true }) {
  const element = useRef(null);
  const again = () => {
    change({ problem: null });
    problem.retry();
  };
  useEffect(() => element.current.scrollIntoView({ block: 'nearest' }), [problem]);
  return html`<div ref=${element} class="failure" role="alert">
    <div>
      <strong>${problem.title}</strong>
      <p>${problem.text}</p>
    </div>
    ${problem.retry && html`<button type="button" class="button" onClick=${again}>Try again</button>`}
    ${
      canClose &&
      html`<button type="button" class="button" onClick=${() => change({ problem: null })}>Close</button>`
    }
  </div>`;
}

export function Hits() {
  const result = useStore((state) => state.result);
  const busy = useStore((state) => state.busy);
  const frame = useStore((state) => state.frame);
  const changed = useStore((state) => state.changed);
  const element = useRef(null);
  useLayoutEffect(followHits, [result]);
  useEffect(() => {
    if (changed || !element.current) return;
    element.current.closest('.view').scrollTo(0, 0);
    bringIntoView(element.current.closest('.found'));
  }, [result]);
  if (!result) return busy ? html`<${Skeletons} frame=${frame} />` : html`<${Welcome} />`;
  const shownUm = frameUm(result.hits);
  return html`<div ref=${element} class=${busy ? 'hits is-busy' : 'hits'} aria-busy=${String(busy)}>
    <${Bar} result=${result} shownUm=${shownUm} />
    <${Warnings} warnings=${result.warnings} />
    ${
      result.hits.length
        ? html`<${Vote} vote=${result.vote} n=${result.hits.length} /><${Uncalibrated} hits=${result.hits} />
            <${Grid} result=${result} frame=${frame} shownUm=${shownUm} /><${TooFew} result=${result} />`
        : html`<${Nothing} />`
    }
  </div>`;
}
