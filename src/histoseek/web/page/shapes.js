/** Outlines over a viewer: hits, the question's region, and what is being drawn. Points are level-0 pixels. */

const SVG = 'http://www.w3.org/2000/svg';

const cornersOf = ({ x, y, width, height }) => [
  [x, y],
  [x + width, y],
  [x + width, y + height],
  [x, y + height],
];

export const boxShape = (box, name, text) => ({ points: cornersOf(box), name, text });
export const regionShape = (region, name) =>
  region.polygon ? { points: region.polygon, name } : boxShape(region, name);

function pathOf(points) {
  return `M${points.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join('L')}Z`;
}

/** An SVG over the viewer that follows it. `show(shapes)` replaces what is drawn; `remove()` takes it away. */
export function outlines(viewer) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('class', 'outlines');
  svg.setAttribute('aria-hidden', 'true');
  viewer.canvas.append(svg);
  let shapes = [];
  const draw = () => {
    const image = viewer.world.getItemAt(0);
    svg.replaceChildren(...(image ? shapes.flatMap((shape) => drawn(shape, image)) : []));
  };
  const events = ['update-viewport', 'viewport-change', 'animation', 'animation-finish', 'resize', 'open'];
  events.forEach((event) => viewer.addHandler(event, draw));
  return {
    show(next) {
      shapes = next;
      draw();
    },
    remove() {
      events.forEach((event) => viewer.removeHandler(event, draw));
      svg.remove();
    },
  };
}

const TEXT_PX = 13;

/** A rank stands above its box, or inside where the viewer ends above it. */
const textY = (seen) => (seen[0].y > TEXT_PX + 4 || seen[2].y < TEXT_PX ? seen[0].y - 4 : seen[0].y + TEXT_PX + 2);

function drawn({ points, name, text }, image) {
  const seen = points.map(([x, y]) => image.imageToViewerElementCoordinates(new window.OpenSeadragon.Point(x, y)));
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', pathOf(seen));
  path.setAttribute('class', `outline ${name}`);
  if (!text) return [path];
  const word = document.createElementNS(SVG, 'text');
  word.setAttribute('x', seen[0].x + 4);
  word.setAttribute('y', textY(seen));
  word.setAttribute('class', 'outline-text');
  word.textContent = text;
  return [path, word];
}
