/** Where a viewer takes its pixels from: a slide's tiles, a thumbnail, or a picture that never left the browser. */
import { api } from './api.js';

const TILE = 512;
const THUMBNAIL_PX = 1024;

const widthOf = (slide) => (slide.mpp ? slide.width * slide.mpp : null);

export const slideSource = (slide) => ({ key: `slide:${slide.id}`, tiles: api.tilesUrl(slide.id), widthUm: widthOf(slide) });

export const itemSource = (hit) => ({
  key: `item:${hit.id}`,
  tiles: { type: 'image', url: api.thumbnailUrl(hit.id, THUMBNAIL_PX), buildPyramid: false },
  widthUm: hit.width_um,
});

/** Tiles cut from a canvas: the page's CSP lets no image come from blob: or data:. */
export function pictureSource(name, preview, mpp) {
  const { canvas } = preview;
  const levels = Math.ceil(Math.log2(Math.max(canvas.width, canvas.height)));
  const tiles = new window.OpenSeadragon.TileSource({ width: canvas.width, height: canvas.height, tileSize: TILE, minLevel: levels, maxLevel: levels });
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

export function boundsOf(region) {
  if (!region.polygon) return region;
  const xs = region.polygon.map(([x]) => x);
  const ys = region.polygon.map(([, y]) => y);
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

/** What shows a thing side by side: its source, and the box on it that is meant. */
export function sourceOf(one, slides) {
  const { example, hit: found } = one;
  const hit = found ?? example?.hit;
  if (example?.region) {
    const slide = slides.find((each) => each.id === example.region.slide);
    return slide ? { ...slideSource(slide), box: boundsOf(example.region) } : null;
  }
  if (example?.preview) return pictureSource(`${example.key}`, example.preview, example.mpp);
  const slide = hit?.box && hit.slide && slides.find((each) => each.id === hit.slide.id);
  if (slide) return { ...slideSource(slide), box: hit.box };
  return hit ? itemSource(hit) : null;
}
