/** The options of a select, from [value, text] pairs. */
import { html } from './drawing.js';

export function Options({ pairs, chosen }) {
  return pairs.map(
    ([value, text]) => html`<option key=${value} value=${value} selected=${value === chosen}>${text}</option>`,
  );
}
