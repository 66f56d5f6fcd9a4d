/** A slide viewer: OpenSeadragon with our own buttons, a scale bar and nothing else. */
import { html, useEffect, useRef, useState } from './drawing.js';
import { IconButton } from './icons.js';
import { scaleBar } from './scale.js';
import { physicalWidth } from './sources.js';

const BAR_PX = 110;
const TURNING_KEYS = [70, 82]; // f and r, as OpenSeadragon tells them

const isStill = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

function optionsFor(element) {
  return {
    element,
    prefixUrl: '',
    drawer: 'canvas',
    subPixelRoundingForTransparency: window.OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS, // no seams in the heat
    showNavigationControl: false,
    animationTime: isStill() ? 0 : 0.5,
    springStiffness: 10,
    immediateRender: true,
    visibilityRatio: 0.4,
    minZoomImageRatio: 0.6,
    maxZoomPixelRatio: 6,
    maxTilesPerFrame: 4,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: false },
    gestureSettingsTouch: { clickToZoom: false, dblClickToZoom: true },
  };
}

/** µm of the content under one pixel of the screen; null where its scale is unknown. */
export function umPerPx(viewer, widthUm) {
  if (!widthUm || !viewer.world.getItemCount()) return null;
  return widthUm / (viewer.viewport.getZoom(true) * viewer.viewport.getContainerSize().x);
}

/** Zoom so that one pixel of the screen shows `um`. */
export function zoomToUm(viewer, widthUm, um, immediately = false) {
  viewer.viewport.zoomTo(widthUm / (um * viewer.viewport.getContainerSize().x), undefined, immediately);
}

/** Show a box of level-0 pixels in the middle, `times` as large around it. */
export function showBox(viewer, box, times = 3, immediately = false) {
  const image = viewer.world.getItemAt(0);
  const wide = box.width * times;
  const high = box.height * times;
  const around = image.imageToViewportRectangle(
    box.x + box.width / 2 - wide / 2,
    box.y + box.height / 2 - high / 2,
    wide,
    high,
  );
  viewer.viewport.fitBounds(around, immediately);
}

function Bar({ viewer, source }) {
  const [um, setUm] = useState(null);
  useEffect(() => {
    if (!viewer) return undefined;
    const look = () => setUm(umPerPx(viewer, physicalWidth(viewer, source)));
    look();
    const events = ['open', 'viewport-change', 'resize'];
    events.forEach((event) => viewer.addHandler(event, look));
    return () => events.forEach((event) => viewer.removeHandler(event, look));
  }, [viewer, source.key]);
  const bar = scaleBar(um, BAR_PX);
  return html`<span class="viewer-scale"
    >${
      bar
        ? html`<span class="scale-bar" style=${{ width: `${bar.px}px` }}>${bar.text}</span
            ><span class="viewer-mag">${`${Number((10 / um).toPrecision(2))}×`}</span>`
        : html`<span class="viewer-mag">scale unknown</span>`
    }</span
  >`;
}

function Buttons({ viewer }) {
  const zoom = (by) => () => viewer.viewport.zoomBy(by).applyConstraints();
  return html`<span class="viewer-buttons">
    <${IconButton} icon="plus" label="Zoom in" onClick=${zoom(1.5)} />
    <${IconButton} icon="minus" label="Zoom out" onClick=${zoom(1 / 1.5)} />
    <${IconButton} icon="fit" label="Show all" onClick=${() => viewer.viewport.goHome()} />
  </span>`;
}

/** A viewer that closes while tiles are under way is no reason for a warning each. */
function keepQuiet() {
  const plain = window.console;
  const isExpected = (text) => typeof text === 'string' && text.startsWith('Ignoring tile');
  const warn = (text, ...rest) => isExpected(text) || plain.warn(text, ...rest);
  window.OpenSeadragon.console = {
    log: plain.log,
    debug: plain.debug,
    info: plain.info,
    error: plain.error,
    assert: plain.assert,
    warn,
  };
}

/** OpenSeadragon writes a style sheet, which the CSP forbids, unless one is there: one without effect is. */
function keepStylesOut() {
  const mark = 'data-openseadragon-mobile-css';
  if (document.querySelector(`style[${mark}]`)) return;
  const nothing = document.createElementNS(null, 'style');
  nothing.setAttribute(mark, 'true');
  document.head.append(nothing);
}

/** OpenSeadragon turns and mirrors a slide by keys that say nothing of it here; only moving and zooming stay. */
function keepUpright(viewer) {
  viewer.addHandler('canvas-key', (event) => {
    if (TURNING_KEYS.includes(event.originalEvent.keyCode)) event.preventDefaultAction = true;
  });
}

/** Name the part that takes the keyboard, which OpenSeadragon leaves without a name. */
function nameCanvas(viewer, label) {
  viewer.canvas.setAttribute('role', 'application');
  viewer.canvas.setAttribute('aria-label', `${label}. Arrow keys move, plus and minus zoom.`);
}

/**
 * `source` is {key, tiles} with mpp or widthUm; `onOpen(viewer)` is called each time its picture has come, and may
 * give back a function that cleans up.
 */
export function Viewer({ source, label, onOpen, children }) {
  const element = useRef(null);
  const [viewer, setViewer] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    keepStylesOut();
    keepQuiet();
    const made = window.OpenSeadragon(optionsFor(element.current));
    keepUpright(made);
    setViewer(made);
    return () => made.destroy();
  }, []);
  useEffect(() => {
    if (!viewer) return undefined;
    let clean;
    nameCanvas(viewer, label);
    setFailure(null);
    const opened = () => (clean = onOpen?.(viewer));
    const failed = () => setFailure('This slide cannot be shown: the server cannot read it now.');
    viewer.addOnceHandler('open', opened);
    viewer.addOnceHandler('open-failed', failed);
    viewer.open(source.tiles);
    return () => {
      viewer.removeHandler('open', opened);
      viewer.removeHandler('open-failed', failed);
      if (typeof clean === 'function') clean();
    };
  }, [viewer, source.key]);
  return html`<div class="viewer" data-source=${source.key}>
    <div class="viewer-canvas" ref=${element}></div>
    ${failure && html`<p class="viewer-failure" role="alert">${failure}</p>`}
    ${viewer && html`<${Bar} viewer=${viewer} source=${source} /><${Buttons} viewer=${viewer} />`} ${children}
  </div>`;
}
