/** Drawing a box or a polygon on a viewer with the pointer. */

const SMALLEST_PX = 6;
const CLOSE_PX = 10;

function pointAt(viewer, position) {
  const { x, y } = viewer.world.getItemAt(0).viewerElementToImageCoordinates(position);
  return [x, y];
}

function inside([x, y], size) {
  return [Math.min(Math.max(x, 0), size.x), Math.min(Math.max(y, 0), size.y)];
}

function boxOf([ax, ay], [bx, by]) {
  return {
    x: Math.round(Math.min(ax, bx)),
    y: Math.round(Math.min(ay, by)),
    width: Math.round(Math.abs(ax - bx)),
    height: Math.round(Math.abs(ay - by)),
  };
}

const cornersOf = ({ x, y, width, height }) => [
  [x, y],
  [x + width, y],
  [x + width, y + height],
  [x, y + height],
];

/** Press, drag, release: a box. `sketch` is given the corners on the way, `done` the box. */
export function boxTool(viewer, sketch, done) {
  let start = null;
  const at = (event) => inside(pointAt(viewer, event.position), viewer.world.getItemAt(0).getContentSize());
  const handlers = {
    'canvas-press': (event) => {
      start = { point: at(event), position: event.position };
    },
    'canvas-drag': (event) => {
      event.preventDefaultAction = true;
      if (start) sketch(cornersOf(boxOf(start.point, at(event))));
    },
    'canvas-drag-end': (event) => {
      event.preventDefaultAction = true;
    },
    'canvas-release': (event) => {
      if (!start) return;
      const isLarge = start.position.distanceTo(event.position) > SMALLEST_PX;
      const box = boxOf(start.point, at(event));
      start = null;
      if (isLarge && box.width > 0 && box.height > 0) done(box);
      else sketch([]);
    },
  };
  return listen(viewer, handlers);
}

/** Click corner by corner; a click on the first corner, a double click or Enter closes; Esc begins anew. */
export function polygonTool(viewer, sketch, done) {
  let points = [];
  const size = () => viewer.world.getItemAt(0).getContentSize();
  const isAtStart = (position) => {
    const image = viewer.world.getItemAt(0);
    const first = image.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(...points[0]));
    return first.distanceTo(position) < CLOSE_PX;
  };
  const close = () => {
    const outline = points.map(([x, y]) => [Math.round(x), Math.round(y)]);
    points = [];
    sketch([]);
    if (outline.length >= 3) done(outline);
  };
  const handlers = {
    'canvas-click': (event) => {
      if (!event.quick) return;
      event.preventDefaultAction = true;
      if (points.length >= 3 && isAtStart(event.position)) return close();
      points = [...points, inside(pointAt(viewer, event.position), size())];
      return sketch(points);
    },
    'canvas-double-click': (event) => {
      event.preventDefaultAction = true;
      close();
    },
    'canvas-key': (event) => {
      const { key } = event.originalEvent;
      if (key === 'Enter') close();
      if (key === 'Escape') {
        points = [];
        sketch([]);
      }
    },
  };
  return listen(viewer, handlers);
}

function listen(viewer, handlers) {
  for (const [event, handler] of Object.entries(handlers)) viewer.addHandler(event, handler);
  return () => {
    for (const [event, handler] of Object.entries(handlers)) viewer.removeHandler(event, handler);
  };
}
