/** The keyboard, on one sheet. */
import { Dialog } from './dialog.js';
import { html } from './drawing.js';
import { KEYS } from './keys.js';
import { closeDialog } from './looking.js';

export function Help() {
  return html`<${Dialog} title="Keyboard" onClose=${closeDialog}>
    <table class="keys">
      <thead class="visually-hidden"><tr><th scope="col">Key</th><th scope="col">Does</th></tr></thead>
      <tbody>${KEYS.map(
        ([key, what, more]) =>
          html`<tr key=${key}>
            <th scope="row">${key.split(/ +/).map((one) => html`<kbd key=${one}>${one}</kbd> `)}</th>
            <td>${what}${more && html`<span class="quiet">; ${more}</span>`}</td>
          </tr>`,
      )}</tbody>
    </table>
    <p class="hint">In a slide: arrows move, <kbd>+</kbd> and <kbd>−</kbd> zoom.</p>
    <p class="hint">“Ask with this view” asks without a pointer.</p>
  </${Dialog}>`;
}
