/** A row of tabs by the book: arrows move, the chosen one has the tab stop. */
import { html } from './drawing.js';

function onKey(event, names, at, choose) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const next = names[(at + step + names.length) % names.length];
  choose(next);
  event.currentTarget.querySelector(`[data-tab="${next}"]`).focus();
}

/** `tabs` are [name, text] pairs; the panel of a tab has the id `GROUP-panel`. */
export function Tabs({ group, label, tabs, chosen, choose }) {
  const names = tabs.map(([name]) => name);
  return html`<div
    class="tabs"
    role="tablist"
    aria-label=${label}
    onKeyDown=${(event) => onKey(event, names, names.indexOf(chosen), choose)}
  >
    ${tabs.map(
      ([name, text]) =>
        html`<button
          key=${name}
          type="button"
          role="tab"
          id=${`${group}-${name}`}
          data-tab=${name}
          aria-selected=${String(name === chosen)}
          aria-controls=${`${group}-panel`}
          tabindex=${name === chosen ? 0 : -1}
          onClick=${() => choose(name)}
        >
          ${text}
        </button>`,
    )}
  </div>`;
}

export function TabPanel({ group, chosen, className = '', children }) {
  return html`<div role="tabpanel" id=${`${group}-panel`} class=${className} aria-labelledby=${`${group}-${chosen}`}>
    ${children}
  </div>`;
}
