/** The archive's slides, to open one and ask with a part of it. */
import { loadSlides } from './actions.js';
import { api } from './api.js';
import { html, useState } from './drawing.js';
import { openSlide } from './looking.js';
import { magnificationText, number } from './scale.js';
import { useStore } from './store.js';

const PREVIEW_LEVEL = 7;
const MANY = 60;

function Slide({ slide, isOpen }) {
  const labels = (slide.labels ?? []).join(', ');
  return html`<li>
    <button
      type="button"
      class="slide-button"
      aria-current=${isOpen ? 'true' : undefined}
      onClick=${() => openSlide(slide.id)}
    >
      <img src=${api.slideTileUrl(slide.id, PREVIEW_LEVEL, 0, 0)} alt="" loading="lazy" />
      <span class="example-text"
        ><span class="name">${slide.name}</span>
        <span class="quiet">${number(slide.n_items)} items · ${magnificationText(slide.mpp)}</span>
        ${labels && html`<span class="quiet labels">${labels}</span>`}</span
      >
    </button>
  </li>`;
}

const matches = (slide, part) =>
  `${slide.name} ${(slide.labels ?? []).join(' ')}`.toLowerCase().includes(part.toLowerCase());

export function SlideList() {
  const slides = useStore((state) => state.slides);
  const open = useStore((state) => state.slideId);
  const [part, setPart] = useState('');
  if (!slides) {
    return html`<div class="explains">
      <p><strong>The list of slides did not come.</strong></p>
      <button type="button" class="button" onClick=${loadSlides}>Try again</button>
    </div>`;
  }
  if (!slides.length) {
    return html`<div class="explains">
      <p><strong>No slide of this archive can be opened here.</strong></p>
      <p class="hint">Its items are pictures, or their slides are not where they were when it was built.</p>
    </div>`;
  }
  const found = slides.filter((slide) => matches(slide, part));
  return html`<label for="find-slide">Open a slide, then draw a box on it</label>
    <input
      id="find-slide"
      type="search"
      placeholder="name or label"
      value=${part}
      onInput=${(event) => setPart(event.target.value)}
    />
    <ul class="slides">
      ${found
        .slice(0, MANY)
        .map((slide) => html`<${Slide} key=${slide.id} slide=${slide} isOpen=${slide.id === open} />`)}
    </ul>
    ${found.length > MANY && html`<p class="hint">${found.length - MANY} more; type a part of the name.</p>`}
    ${found.length === 0 && html`<p class="hint">No slide has that in its name or labels.</p>`}`;
}
