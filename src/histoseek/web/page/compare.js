/** Two pictures side by side, their zoom and their movement linked in µm. */
import { Dialog } from './dialog.js';
import { html, useEffect, useRef, useState } from './drawing.js';
import { closeDialog, comparable } from './looking.js';
import { Options } from './options.js';
import { outlines, boxShape } from './shapes.js';
import { physicalWidth, sourceOf } from './sources.js';
import { now, useStore } from './store.js';
import { Viewer, zoomToUm } from './viewer.js';

const TIMES = 1.6;
const RESIZE_MS = 60;

/** Width in µm of what is meant on a source: its box, or all of it. */
function meantUm({ viewer, source }) {
  const widthUm = physicalWidth(viewer, source);
  return source.box ? (source.box.width / viewer.world.getItemAt(0).getContentSize().x) * widthUm : widthUm;
}

function centreOn({ viewer, source }) {
  const image = viewer.world.getItemAt(0);
  const size = image.getContentSize();
  const box = source.box ?? { x: 0, y: 0, width: size.x, height: size.y };
  viewer.viewport.panTo(image.imageToViewportCoordinates(box.x + box.width / 2, box.y + box.height / 2), true);
}

/** Both at the same scale, each with its own middle in the middle. */
function level(sides) {
  const width = Math.min(...sides.map(({ viewer }) => viewer.viewport.getContainerSize().x));
  const um = (Math.max(...sides.map(meantUm)) * TIMES) / width;
  for (const side of sides) {
    centreOn(side);
    zoomToUm(side.viewer, physicalWidth(side.viewer, side.source), um, true);
  }
}

/** Where a viewer looks, in µm from the middle it began with. */
function lookOf({ viewer, source }) {
  const centre = viewer.viewport.getCenter(false);
  const widthUm = physicalWidth(viewer, source);
  return {
    x: centre.x * widthUm,
    y: centre.y * widthUm,
    um: widthUm / (viewer.viewport.getZoom(false) * viewer.viewport.getContainerSize().x),
  };
}

/** Each follows the other; the flag keeps an echo from coming back. After a change of size both begin anew. */
function link(sides) {
  let isFollowing = false;
  let timer = 0;
  let last = sides.map(lookOf);
  const follow = (from) => () => {
    if (isFollowing) return;
    isFollowing = true;
    const to = 1 - from;
    const seen = lookOf(sides[from]);
    const { viewer, source } = sides[to];
    const centre = viewer.viewport.getCenter(false);
    const widthUm = physicalWidth(viewer, source);
    const by = new window.OpenSeadragon.Point((seen.x - last[from].x) / widthUm, (seen.y - last[from].y) / widthUm);
    zoomToUm(viewer, widthUm, seen.um);
    viewer.viewport.panTo(centre.plus(by));
    last = sides.map(lookOf);
    isFollowing = false;
  };
  const resized = () => {
    isFollowing = true;
    clearTimeout(timer);
    timer = setTimeout(() => {
      level(sides);
      last = sides.map(lookOf);
      isFollowing = false;
    }, RESIZE_MS);
  };
  const all = sides.flatMap(({ viewer }, at) => [
    [viewer, 'zoom', follow(at)],
    [viewer, 'pan', follow(at)],
    [viewer, 'resize', resized],
  ]);
  all.forEach(([viewer, event, handler]) => viewer.addHandler(event, handler));
  return () => {
    clearTimeout(timer);
    all.forEach(([viewer, event, handler]) => viewer.removeHandler(event, handler));
  };
}

function Side({ all, chosen, choose, name, onReady }) {
  const one = all.find((each) => each.id === chosen) ?? all[0];
  const source = sourceOf(one, now().slides ?? []);
  const onOpen = (viewer) => {
    const layer = outlines(viewer);
    if (source.box) layer.show([boxShape(source.box, one.example ? 'is-asked' : 'is-hit is-active')]);
    onReady({ viewer, source });
    return () => {
      layer.remove();
      onReady(null);
    };
  };
  return html`<section class="side" aria-label=${name}>
    <label class="row"
      ><span class="visually-hidden">${name} picture</span
      ><select value=${one.id} onChange=${(event) => choose(event.target.value)}>
        <${Options} pairs=${all.map((each) => [each.id, each.name])} chosen=${one.id} />
      </select></label
    >
    <${Viewer} key=${source.key + one.id} source=${source} label=${one.name} onOpen=${onOpen} />
  </section>`;
}

export function Compare() {
  const compare = useStore((state) => state.compare);
  const [chosen, setChosen] = useState(compare);
  const [isLinked, setLinked] = useState(true);
  const [sides, setSides] = useState([null, null]);
  const all = useRef(comparable(now())).current;
  const canLink = sides.every((side) => side && physicalWidth(side.viewer, side.source));
  useEffect(() => {
    if (canLink) level(sides);
  }, [sides]);
  useEffect(() => (canLink && isLinked ? link(sides) : undefined), [sides, isLinked]);
  const ready = (at) => (side) => setSides((old) => old.map((one, place) => (place === at ? side : one)));
  const isOpen = sides.every(Boolean);
  return html`<${Dialog} title="Side by side" isWide=${true} onClose=${closeDialog}>
    <div class="row">
      <label class="switch">
        <input type="checkbox" role="switch" checked=${isLinked} disabled=${isOpen && !canLink}
          onChange=${(event) => setLinked(event.target.checked)} />
        <span>Zoom and movement linked in µm</span>
      </label>
      ${isOpen && !canLink && html`<span class="hint">One has no known scale, so they cannot be linked.</span>`}
    </div>
    <div class="sides">
      <${Side} name="Left" all=${all} chosen=${chosen.left} onReady=${ready(0)}
        choose=${(left) => setChosen({ ...chosen, left })} />
      <${Side} name="Right" all=${all} chosen=${chosen.right} onReady=${ready(1)}
        choose=${(right) => setChosen({ ...chosen, right })} />
    </div>
  </${Dialog}>`;
}
