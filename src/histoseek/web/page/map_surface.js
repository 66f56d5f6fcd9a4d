/** The drawn part of the map: WebGL points, and over them rings around the hits and the lasso. */
import { html, useEffect, useRef, useState } from './drawing.js';
import { Scatter } from './scatter.js';

const CLICK_PX = 4;
const STEP_PX = 40;

const placeOf = (event, element) => {
  const box = element.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

/** Rings around the hits, and the lasso while it is drawn. */
function drawOver(canvas, scatter, hits, lasso) {
  const box = canvas.getBoundingClientRect();
  canvas.width = Math.round(box.width * devicePixelRatio);
  canvas.height = Math.round(box.height * devicePixelRatio);
  const paint = canvas.getContext('2d');
  paint.scale(devicePixelRatio, devicePixelRatio);
  paint.lineWidth = 2;
  paint.strokeStyle = isDark() ? '#ffffff' : '#111111';
  paint.fillStyle = isDark() ? 'rgb(255 255 255 / 12%)' : 'rgb(0 0 0 / 10%)';
  for (const row of hits) {
    const [x, y] = scatter.toScreen(scatter.points[2 * row], scatter.points[2 * row + 1]);
    paint.beginPath();
    paint.arc(x, y, 9, 0, 7);
    paint.stroke();
  }
  if (lasso.length < 2) return;
  paint.beginPath();
  lasso.forEach(([x, y], at) => (at ? paint.lineTo(x, y) : paint.moveTo(x, y)));
  paint.closePath();
  paint.fill();
  paint.stroke();
}

function useScatter(canvas, map) {
  const [scatter, setScatter] = useState(null);
  const [failure, setFailure] = useState(null);
  useEffect(() => {
    try {
      setScatter(new Scatter(canvas.current, map.points));
    } catch (error) {
      setFailure(error.message);
    }
  }, [map.version]);
  return [scatter, failure];
}

/** Pointer handlers: drag moves or draws the lasso, a click picks. */
function pointer({ scatter, tool, held, redraw, onLasso, onPick }) {
  const down = (event) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    held.current = {
      start: placeOf(event, event.currentTarget),
      last: placeOf(event, event.currentTarget),
      lasso: [],
      isDown: true,
    };
  };
  const move = (event) => {
    if (!held.current.isDown) return;
    const place = placeOf(event, event.currentTarget);
    if (tool === 'lasso') held.current.lasso.push(place);
    else scatter.moveBy(place[0] - held.current.last[0], place[1] - held.current.last[1]);
    held.current.last = place;
    redraw();
  };
  const up = (event) => {
    const { start, lasso, isDown } = held.current;
    if (!isDown) return;
    const place = placeOf(event, event.currentTarget);
    held.current = { lasso: [], isDown: false };
    const isClick = Math.hypot(place[0] - start[0], place[1] - start[1]) < CLICK_PX && lasso.length < 4;
    if (isClick && scatter.nearest(...place) >= 0) onPick(scatter.nearest(...place));
    else if (!isClick && tool === 'lasso') onLasso(scatter.within(lasso));
    redraw();
  };
  return { onPointerDown: down, onPointerMove: move, onPointerUp: up };
}

function onKeys(scatter) {
  const moves = { ArrowLeft: [STEP_PX, 0], ArrowRight: [-STEP_PX, 0], ArrowUp: [0, STEP_PX], ArrowDown: [0, -STEP_PX] };
  return (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const middle = [box.width / 2, box.height / 2];
    if (moves[event.key]) scatter.moveBy(...moves[event.key]);
    else if ('+='.includes(event.key)) scatter.zoom(1.3, ...middle);
    else if ('-−'.includes(event.key)) scatter.zoom(1 / 1.3, ...middle);
    else return;
    event.preventDefault();
  };
}

function useDrawing(scatter, over, props, held) {
  const redraw = () => {
    if (!scatter) return;
    scatter.onDraw = () => over.current && drawOver(over.current, scatter, props.hits, held.current.lasso);
    scatter.draw();
  };
  useEffect(() => {
    if (scatter && props.column) scatter.setCodes(props.column.codes);
    redraw();
  }, [scatter, props.column]);
  useEffect(() => {
    scatter?.setChosen(props.chosen);
    redraw();
  }, [scatter, props.chosen]);
  useEffect(redraw, [scatter, props.hits]);
  useEffect(() => {
    if (!scatter) return undefined;
    const watch = new ResizeObserver(redraw);
    watch.observe(scatter.canvas);
    return () => watch.disconnect();
  }, [scatter, props.hits]);
  return redraw;
}

/** React neither to passive wheel events nor to the page's own scrolling. */
function useWheel(element, scatter) {
  useEffect(() => {
    const shown = element.current;
    const wheel = (event) => {
      event.preventDefault();
      scatter?.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, ...placeOf(event, shown));
    };
    shown.addEventListener('wheel', wheel, { passive: false });
    return () => shown.removeEventListener('wheel', wheel);
  }, [scatter]);
}

export function MapSurface(props) {
  const { map, tool, control } = props;
  const canvas = useRef(null);
  const over = useRef(null);
  const held = useRef({ lasso: [], isDown: false });
  const [scatter, failure] = useScatter(canvas, map);
  const redraw = useDrawing(scatter, over, props, held);
  useWheel(over, scatter);
  useEffect(() => {
    const middle = () => [canvas.current.clientWidth / 2, canvas.current.clientHeight / 2];
    control.current = scatter && { zoomBy: (by) => scatter.zoom(by, ...middle()), goHome: () => scatter.goHome() };
  }, [scatter]);
  const handlers = scatter ? pointer({ ...props, scatter, held, redraw }) : {};
  const label = `Map of ${map.n} items. Arrows move, plus and minus zoom; the list beside it says the same in words.`;
  return html`<div class=${`map tool-${tool}`}>
    <canvas ref=${canvas} class="map-points" aria-hidden="true"></canvas>
    <canvas
      ref=${over}
      class="map-over"
      tabindex="0"
      role="application"
      aria-label=${label}
      ...${handlers}
      onKeyDown=${scatter ? onKeys(scatter) : undefined}
    ></canvas>
    ${failure && html`<p class="viewer-failure">${failure}</p>`}
  </div>`;
}
