/** The heat of a question over an open slide: tiles with transparency, cut as the slide's own. */
import { api } from './api.js';

/** Lay it over the slide; `ready` is given the layer, whose opacity can be set. */
export function addHeat(viewer, slide, query, strength, ready) {
  const below = viewer.world.getItemAt(0).source;
  viewer.addTiledImage({
    tileSource: {
      width: below.dimensions.x,
      height: below.dimensions.y,
      tileSize: below.getTileWidth(below.maxLevel),
      tileOverlap: below.tileOverlap,
      minLevel: below.minLevel,
      maxLevel: below.maxLevel,
      getTileUrl: (level, column, row) => api.heatTileUrl(slide.id, query, level, column, row),
    },
    opacity: strength,
    success: ({ item }) => ready(item),
  });
}
