/** Colours that colour-blind people tell apart (Okabe and Ito 2008), each value with a shape as well. */

export const PALETTE = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#d55e00', '#f0e442'];
export const SHAPES = ['circle', 'square', 'triangle', 'diamond', 'cross'];
export const OTHER = '#8c8c8c';

/** Colour and shape of the value at this place of its column; 35 pairs before one comes again. */
export const lookOf = (place) =>
  place < 0
    ? { colour: OTHER, shape: 'circle' }
    : { colour: PALETTE[place % PALETTE.length], shape: SHAPES[place % SHAPES.length] };

/** The place of a label among the archive's labels, most frequent first. */
export function labelPlace(index, label) {
  const values = index?.columns.find((one) => one.name === 'label')?.values ?? [];
  return label === null ? -1 : values.filter((one) => one.value !== null).findIndex((one) => one.value === label);
}
