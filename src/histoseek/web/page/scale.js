/** Physical sizes: one scale for all hits, scale bars of round length, and how people write magnification. */

const STEPS = [1, 2, 5];

/** The largest of 1, 2, 5 × 10ⁿ µm that is not longer than `limit_um`. */
export function roundLength(limitUm) {
  const power = 10 ** Math.floor(Math.log10(limitUm));
  const step = STEPS.filter((one) => one * power <= limitUm).at(-1) ?? 1;
  return step * power;
}

export function lengthText(um) {
  if (um >= 1000) return `${um / 1000} mm`;
  return um >= 1 ? `${um} µm` : `${um * 1000} nm`;
}

/** A scale bar not wider than `limitPx` where one pixel of the screen is `umPerPx`; null if the scale is unknown. */
export function scaleBar(umPerPx, limitPx) {
  if (!umPerPx || !Number.isFinite(umPerPx)) return null;
  const um = roundLength(umPerPx * limitPx);
  return { px: Math.round(um / umPerPx), text: lengthText(um) };
}

/** 40× is 0.25 µm per pixel by the convention of slide scanners. */
export const magnificationText = (mpp) => (mpp ? `${Number((10 / mpp).toPrecision(2))}×` : 'scale unknown');

export const mppText = (mpp) => (mpp ? `${Number(mpp.toPrecision(3))} µm/px` : 'unknown µm/px');

const sizeOf = (hit) => Math.max(hit.width_um ?? 0, hit.height_um ?? 0);

/** How many µm the frame of a hit card shows: the largest hit fits, unless it is far larger than the usual one. */
export function frameUm(hits) {
  const sizes = hits
    .map(sizeOf)
    .filter((size) => size > 0)
    .sort((a, b) => a - b);
  if (!sizes.length) return null;
  const usual = sizes[Math.floor(sizes.length / 2)];
  return Math.min(sizes.at(-1), usual * 3);
}

/** Where the picture of a hit lies in its frame, in pixels of the screen. */
export function placedIn(frame, shownUm, hit) {
  if (!shownUm || !sizeOf(hit)) return { width: frame, height: frame, isFitted: true, isCut: false };
  const perUm = frame / shownUm;
  const width = hit.width_um * perUm;
  const height = hit.height_um * perUm;
  return { width, height, isFitted: false, isCut: Math.max(width, height) > frame + 1 };
}

export const number = (value) => value.toLocaleString('en');

export const counted = (n, word) => `${number(n)} ${word}${n === 1 ? '' : 's'}`;

export const patientsOf = (index) => (index.n_patients ? counted(index.n_patients, 'patient') : 'unknown patients');

export function valueText(value) {
  if (value === null || value === undefined || value === '') return '–';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  return typeof value === 'number' && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
}
