/** Icons, drawn for this page on a grid of 16; they are decoration, the button beside them has the name. */
import { html } from './drawing.js';

const PATHS = {
  plus: 'M8 3.5v9M3.5 8h9',
  minus: 'M3.5 8h9',
  close: 'M4 4l8 8M12 4l-8 8',
  again: 'M12.8 6.2A5.2 5.2 0 1 0 13.2 8.8M13 2.8v3.6H9.4',
  compare: 'M2.5 3.5h4.6v9H2.5zM8.9 3.5h4.6v9H8.9z',
  slide: 'M2.5 4h11v8h-11zM5 6.5h3.5v3H5z',
  share: 'M8 10V2.8M5.2 5.4 8 2.6l2.8 2.8M3 8.6v4.6h10V8.6',
  undo: 'M5.6 3.4 2.8 6.2l2.8 2.8M3 6.2h6.4a3.6 3.6 0 0 1 0 7.2H6',
  help: 'M5.8 6a2.3 2.3 0 1 1 3.4 2c-.8.5-1.2.9-1.2 1.8M8 12.2v.3',
  info: 'M8 7.2v5M8 4.2v.3',
  box: 'M3 4h10v8H3z',
  polygon: 'M4 12 2.8 6.4 8 2.8l5.2 3.8L11 12.6z',
  hand:
    'M8 2.5v11M2.5 8h11M6.3 4.2 8 2.5l1.7 1.7M6.3 11.8 8 13.5l1.7-1.7M4.2 6.3 2.5 8l1.7 1.7M11.8 6.3 13.5 8l-1.7 1.7',
  fit: 'M2.8 6V2.8H6M10 2.8h3.2V6M13.2 10v3.2H10M6 13.2H2.8V10',
  view: 'M2.5 4.5h11v7h-11zM5.5 8h5M8 5.8v4.4',
  lasso:
    'M12.8 5.8c0 1.8-2.2 3.2-4.9 3.2S3 7.6 3 5.8s2.2-3.2 4.9-3.2 4.9 1.4 4.9 3.2z' +
    'M5 8.6c-.8 1.4.2 2.4 1.2 2.2 1.2-.2 1.6 1.4-.4 2.7',
  theme: 'M8 2.8a5.2 5.2 0 1 0 0 10.4zM8 2.8a5.2 5.2 0 0 1 0 10.4',
  warn: 'M8 2.6 14 13H2zM8 6.6v3M8 11.2v.3',
  picture: 'M2.5 3.5h11v9h-11zM3 11l3-3.4 2.4 2.6 1.8-1.8L13 11M10.4 6.2v.2',
  down: 'M4 6.2 8 10.2l4-4',
  left: 'M9.8 4 5.8 8l4 4',
  right: 'M6.2 4l4 4-4 4',
};

export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d=${PATHS[name]} /></svg>`;
}

const MARKS = {
  circle: html`<circle cx="6" cy="6" r="4.4" />`,
  square: html`<path d="M2 2h8v8H2z" />`,
  triangle: html`<path d="M6 1.2 11 10.4H1z" />`,
  diamond: html`<path d="M6 .8 11.2 6 6 11.2.8 6z" />`,
  cross: html`<path d="M4.2 1h3.6v3.2H11v3.6H7.8V11H4.2V7.8H1V4.2h3.2z" />`,
};

/** The colour and shape that stand for a value. */
export function Swatch({ look }) {
  return html`<svg class="swatch" viewBox="0 0 12 12" aria-hidden="true" fill=${look.colour}>
    ${MARKS[look.shape]}
  </svg>`;
}

export function IconButton({ icon, label, title, isPressed, isDisabled, onClick, tabIndex, className = '' }) {
  return html`<button
    type="button"
    class=${`icon-button ${className}`}
    aria-label=${label}
    title=${title ?? label}
    aria-pressed=${isPressed === undefined ? undefined : String(isPressed)}
    disabled=${isDisabled}
    tabindex=${tabIndex}
    onClick=${onClick}
  >
    <${Icon} name=${icon} />
  </button>`;
}
