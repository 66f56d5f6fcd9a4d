/** A modal dialog with a heading; Esc and the close button close it, and focus goes back to where it was. */
import { html, useLayoutEffect, useRef } from './drawing.js';
import { IconButton } from './icons.js';

export function Dialog({ title, onClose, isWide, children }) {
  const element = useRef(null);
  useLayoutEffect(() => {
    const before = document.activeElement;
    const shown = element.current;
    shown.showModal();
    return () => {
      shown.close(); // while it is open, nothing else of the page takes the focus
      if (before?.isConnected) before.focus();
    };
  }, []);
  const onCancel = (event) => {
    event.preventDefault();
    onClose();
  };
  return html`<dialog ref=${element} class=${isWide ? 'wide' : ''} aria-labelledby="dialog-title" onCancel=${onCancel}>
    <header class="dialog-head">
      <h2 id="dialog-title">${title}</h2>
      <${IconButton} icon="close" label="Close" title="Close (Esc)" onClick=${onClose} />
    </header>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}
