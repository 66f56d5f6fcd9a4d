/** Where a viewer takes its pixels from: a slide's tiles, or a picture that never left the browser. */
import { api } from './api.js';

const TILE = 512;

export const slideSource = (slide) => ({ key: `slide:${slide.id}`, tiles: api.tilesUrl(slide.id), mpp: slide.mpp });

/** Tiles cut from a canvas: the page's CSP lets no image come from blob: or data:. */
export function pictureSource(name, preview, mpp) {
  const { canvas } = preview;
  const levels = Math.ceil(Math.log2(Math.max(canvas.width, canvas.height)));
  const tiles = new window.OpenSeadragon.TileSource({
    width: canvas.width,
    height: canvas.height,
    tileSize: TILE,
    minLevel: levels,
    maxLevel: levels,
  });
  tiles.getTileUrl = (level, column, row) => `${name}/${level}/${column}_${row}`;
  tiles.downloadTileStart = (job) => {
    const [column, row] = job.src.split('/').at(-1).split('_').map(Number);
    job.finish(cut(canvas, column * TILE, row * TILE), null, 'context2d');
  };
  tiles.downloadTileAbort = () => undefined;
  return { key: `picture:${name}`, tiles, widthUm: mpp ? preview.width * mpp : null };
}

function cut(canvas, x, y) {
  const tile = document.createElement('canvas');
  tile.width = Math.min(TILE, canvas.width - x);
  tile.height = Math.min(TILE, canvas.height - y);
  const context = tile.getContext('2d', { willReadFrequently: true });
  context.drawImage(canvas, x, y, tile.width, tile.height, 0, 0, tile.width, tile.height);
  return context;
}

/** Width in µm of what a viewer has open; null where its scale is unknown. */
export function physicalWidth(viewer, source) {
  if (source.widthUm || !source.mpp || !viewer?.world?.getItemCount()) return source.widthUm ?? null;
  return viewer.world.getItemAt(0).getContentSize().x * source.mpp;
}

export function boundsOf(region) {
  if (!region.polygon) return region;
  const xs = region.polygon.map(([x]) => x);
  const ys = region.polygon.map(([, y]) => y);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

/** The slide or picture that a hit lies on. */
export const slideOf = (hit) => hit?.slide && { ...hit.slide, mpp: hit.mpp };

export const hitSource = (hit) => ({ ...slideSource(slideOf(hit)), box: hit.box });

/** What shows a thing side by side: its source, and the box on it that is meant. */
export function sourceOf({ example, hit }, slides) {
  if (example?.region) {
    const slide = slides.find((each) => each.id === example.region.slide);
    return { ...slideSource(slide ?? { id: example.region.slide, mpp: null }), box: boundsOf(example.region) };
  }
  if (example?.preview) return pictureSource(`${example.key}`, example.preview, example.mpp);
  return hitSource(hit ?? example.hit);
}
