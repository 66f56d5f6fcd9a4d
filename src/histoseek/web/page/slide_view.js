/** An open slide: draw a box or a polygon on it to ask, and lay the question's heat over it. */
import { api } from './api.js';
import { askRegion, failed } from './actions.js';
import { askedOf, isQuestion } from './asked.js';
import { boxTool, polygonTool } from './draw_tools.js';
import { html, useEffect, useRef, useState } from './drawing.js';
import { addHeat } from './heat.js';
import { Icon } from './icons.js';
import { openSlide } from './looking.js';
import { Options } from './options.js';
import { boxShape, outlines, regionShape } from './shapes.js';
import { physicalWidth, slideSource } from './sources.js';
import { now, useStore } from './store.js';
import { Viewer, zoomToUm } from './viewer.js';

const TOOLS = [
  ['move', 'hand', 'Move', 'Drag to move, scroll to zoom'],
  ['box', 'box', 'Box', 'Drag a box around what you mean'],
  ['polygon', 'polygon', 'Polygon', 'Click corner by corner; a double click closes'],
];
const MAGNIFICATIONS = [2.5, 5, 10, 20, 40];

function Tools({ tool, choose }) {
  return html`<fieldset class="segments tools">
    <legend class="visually-hidden">What the pointer does</legend>
    ${TOOLS.map(
      ([name, icon, text, why]) =>
        html`<label key=${name} title=${why}
          ><input type="radio" name="tool" value=${name} checked=${tool === name} onChange=${() => choose(name)} /><span
            ><${Icon} name=${icon} />${text}</span
          ></label
        >`,
    )}
  </fieldset>`;
}

function Magnifications({ viewer, source }) {
  const widthUm = physicalWidth(viewer, source);
  if (!widthUm) return null;
  return html`<span class="row magnifications" role="group" aria-label="Magnification"
    >${MAGNIFICATIONS.map(
      (times) =>
        html`<button
          key=${times}
          type="button"
          class="button small"
          onClick=${() => zoomToUm(viewer, widthUm, 10 / times)}
        >
          ${times}×
        </button>`,
    )}</span
  >`;
}

/** The rectangle that is in view, in level-0 pixels: asking without a pointer. */
function boxInView(viewer) {
  const image = viewer.world.getItemAt(0);
  const size = image.getContentSize();
  const seen = image.viewportToImageRectangle(viewer.viewport.getBounds());
  const x = Math.max(0, Math.round(seen.x));
  const y = Math.max(0, Math.round(seen.y));
  const width = Math.min(size.x, Math.round(seen.x + seen.width)) - x;
  const height = Math.min(size.y, Math.round(seen.y + seen.height)) - y;
  return { x, y, width, height };
}

/** The cosines of the first and the last colour. */
function HeatKey({ range }) {
  if (!range) return html`<span class="quiet">being made…</span>`;
  return html`<span class="heat-key"
    ><span>${range.min.toFixed(2)}</span><span class="heat-ramp" role="img" aria-label="from unlike to like"></span
    ><span>${range.max.toFixed(2)}</span></span
  >`;
}

function Heat({ viewer, slide }) {
  const [isOn, setOn] = useState(false);
  const [range, setRange] = useState(null);
  const [strength, setStrength] = useState(0.6);
  const [tries, setTries] = useState(0);
  const hasQuestion = useStore(isQuestion);
  const result = useStore((state) => state.result);
  const layer = useRef(null);
  useEffect(() => {
    if (!isOn || !viewer || !hasQuestion) return undefined;
    let isGone = false;
    api.heat(askedOf(now()), slide.id).then(
      (said) => {
        if (isGone) return;
        setRange(said);
        addHeat(viewer, slide, said.query, strength, (item) => (layer.current = item));
      },
      (error) => isGone || failed(error, () => setTries(tries + 1), 'No heat map'),
    );
    return () => {
      isGone = true;
      setRange(null);
      if (layer.current && viewer.world) viewer.world.removeItem(layer.current);
      layer.current = null;
    };
  }, [isOn, viewer, slide.id, result?.query.digest, tries]);
  const set = (event) => {
    setStrength(Number(event.target.value));
    layer.current?.setOpacity(Number(event.target.value));
  };
  return html`<span class="row heat"
    ><label class="switch" title=${hasQuestion ? 'Where this slide looks like the question' : 'Ask something first'}>
      <input
        type="checkbox"
        role="switch"
        checked=${isOn}
        disabled=${!hasQuestion}
        onChange=${(event) => setOn(event.target.checked)}
      /><span>Heat of the question</span></label
    >
    ${
      isOn &&
      html`<label class="row"
          ><span class="visually-hidden">Strength of the heat map</span
          ><input type="range" min="0.1" max="1" step="0.1" value=${strength} onInput=${set}
        /></label>
        <${HeatKey} range=${range} />`
    }</span
  >`;
}

/** Hits and regions of the question that lie on this slide. */
function shapesOn(state, slide) {
  const hits = (state.result?.hits ?? []).filter((hit) => hit.slide?.id === slide.id && hit.box);
  const asked = state.examples.filter((one) => one.region?.slide === slide.id);
  return [
    ...hits.map((hit) =>
      boxShape(hit.box, hit.id === state.activeId ? 'is-hit is-active' : 'is-hit', String(hit.rank)),
    ),
    ...asked.map((one) => regionShape(one.region, one.weight > 0 ? 'is-asked' : 'is-asked is-minus')),
  ];
}

function useDrawing(viewer, slide, tool) {
  const state = useStore((all) => all);
  const layer = useRef(null);
  const sketch = useRef([]);
  const redraw = () => {
    const drawing = sketch.current.length ? [{ points: sketch.current, name: 'is-drawing' }] : [];
    layer.current?.show([...shapesOn(now(), slide), ...drawing]);
  };
  useEffect(() => {
    if (!viewer) return undefined;
    layer.current = outlines(viewer);
    redraw();
    return () => layer.current.remove();
  }, [viewer, slide.id]);
  useEffect(redraw, [state.result, state.examples, state.activeId, slide.id]);
  useEffect(() => {
    if (!viewer || tool === 'move') return undefined;
    const show = (points) => {
      sketch.current = points;
      redraw();
    };
    const done = (shape) => {
      show([]);
      askRegion(
        { slide: slide.id, ...(tool === 'box' ? shape : { polygon: shape }) },
        `${tool === 'box' ? 'Box' : 'Polygon'} on ${slide.name}`,
      );
    };
    return (tool === 'box' ? boxTool : polygonTool)(viewer, show, done);
  }, [viewer, slide.id, tool]);
}

function SlideChoice({ slides, slide }) {
  return html`<label class="row"
    ><span class="visually-hidden">Slide</span
    ><select value=${slide.id} onChange=${(event) => openSlide(event.target.value)}>
      <${Options} pairs=${slides.map((one) => [one.id, one.name])} chosen=${slide.id} />
    </select></label
  >`;
}

function OpenSlide({ slide, slides }) {
  const [viewer, setViewer] = useState(null);
  const [tool, setTool] = useState('box');
  useDrawing(viewer, slide, tool);
  const source = slideSource(slide);
  const onOpen = (opened) => {
    setViewer(opened);
    return () => setViewer(null);
  };
  const askView = () => askRegion({ slide: slide.id, ...boxInView(viewer) }, `View of ${slide.name}`);
  return html`<div class=${`slide-view tool-${tool}`}>
    <div class="slide-bar">
      <${SlideChoice} slides=${slides} slide=${slide} /><${Tools} tool=${tool} choose=${setTool} />
      <button
        type="button"
        class="button"
        disabled=${!viewer}
        onClick=${askView}
        title="Search with the part of the slide that is in view"
      >
        Ask with this view
      </button>
      <${Magnifications} viewer=${viewer} source=${source} /><${Heat} viewer=${viewer} slide=${slide} />
    </div>
    <${Viewer} source=${source} label=${`Slide ${slide.name}`} onOpen=${onOpen} />
    <p class="hint slide-hint">${TOOLS.find(([name]) => name === tool)[3]}.</p>
  </div>`;
}

export function SlideView() {
  const slides = useStore((state) => state.slides) ?? [];
  const id = useStore((state) => state.slideId);
  const slide = slides.find((one) => one.id === id) ?? slides[0];
  if (!slide)
    return html`<div class="empty">
      <h3>No slide can be opened</h3>
      <p>The items of this archive are pictures, or their slides are not where they were.</p>
    </div>`;
  return html`<${OpenSlide} slide=${slide} slides=${slides} />`;
}
