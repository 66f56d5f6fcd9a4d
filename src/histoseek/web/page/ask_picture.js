/** Ask with a picture: drop, paste or choose it; its scale is asked for where its file states none. */
import { askPicture, cancel, takePicture } from './actions.js';
import { html, useEffect, useRef, useState } from './drawing.js';
import { Icon } from './icons.js';
import { checkedMpp } from './picture.js';
import { magnificationText } from './scale.js';
import { useStore } from './store.js';

const USUAL = [0.25, 0.5, 1];

/** A preview drawn from a canvas; the page loads no blob: or data: addresses. */
export function Preview({ canvas, px, label }) {
  const element = useRef(null);
  useEffect(() => {
    const shown = element.current;
    const shrink = Math.min(px / canvas.width, px / canvas.height, 1);
    shown.width = Math.max(1, Math.round(canvas.width * shrink));
    shown.height = Math.max(1, Math.round(canvas.height * shrink));
    shown.getContext('2d').drawImage(canvas, 0, 0, shown.width, shown.height);
  }, [canvas, px]);
  return html`<canvas
    ref=${element}
    class="preview"
    role=${label ? 'img' : undefined}
    aria-label=${label || undefined}
    aria-hidden=${label ? undefined : 'true'}
  ></canvas>`;
}

function pastedFile(event) {
  return [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith('image/'));
}

/** Pictures may be dropped anywhere on the page, and pasted. */
function useWholePage(onDrag) {
  useEffect(() => {
    const over = (event) => {
      if (![...(event.dataTransfer?.types ?? [])].includes('Files')) return;
      event.preventDefault();
      onDrag(true);
    };
    const leave = (event) => event.relatedTarget === null && onDrag(false);
    const drop = (event) => {
      event.preventDefault();
      onDrag(false);
      if (event.dataTransfer.files[0]) takePicture(event.dataTransfer.files[0]);
    };
    const paste = (event) => {
      const file = pastedFile(event);
      if (file) takePicture(file);
    };
    const all = { dragover: over, dragleave: leave, drop, paste };
    for (const [name, listen] of Object.entries(all)) document.addEventListener(name, listen);
    return () => Object.entries(all).forEach(([name, listen]) => document.removeEventListener(name, listen));
  }, []);
}

export function DropAnywhere() {
  const [isOver, setOver] = useState(false);
  useWholePage(setOver);
  return isOver
    ? html`<div class="drop-veil" aria-hidden="true"><p>Drop the picture to search with it</p></div>`
    : null;
}

function Chooser() {
  const input = useRef(null);
  const onChange = () => {
    const file = input.current.files[0];
    input.current.value = '';
    if (file) takePicture(file);
  };
  return html`<div class="drop">
    <${Icon} name="picture" />
    <p><strong>Drop</strong> a picture anywhere, <strong>paste</strong> one, or</p>
    <label class="button file"
      >Choose a picture<input
        ref=${input}
        id="picture"
        type="file"
        class="visually-hidden"
        accept="image/png,image/jpeg,image/tiff,image/webp,image/bmp"
        onChange=${onChange}
    /></label>
    <p class="hint">PNG, JPEG, TIFF, WebP or BMP, up to 20 MB. It is not stored.</p>
  </div>`;
}

/** How large a pixel is, for a picture whose file does not say. */
function ScaleForm({ picture }) {
  const [text, setText] = useState(picture.mpp ? String(Number(picture.mpp.toPrecision(4))) : '');
  const [refused, setRefused] = useState(false);
  const busy = useStore((state) => state.busy);
  const submit = (event) => {
    event.preventDefault();
    const mpp = checkedMpp(text);
    setRefused(!mpp);
    if (mpp) askPicture(picture, mpp);
  };
  return html`<form class="scale-form" onSubmit=${submit}>
    <label for="mpp">How large is a pixel?</label>
    <div class="row">
      <input
        id="mpp"
        inputmode="decimal"
        value=${text}
        aria-invalid=${String(refused)}
        aria-describedby="mpp-hint"
        onInput=${(event) => setText(event.target.value)}
      />
      <span>µm/px</span> <button type="submit" class="button strong" disabled=${busy}>Search</button>
    </div>
    <div class="row presets">
      ${USUAL.map(
        (mpp) =>
          html`<button key=${mpp} type="button" class="button small" onClick=${() => setText(String(mpp))}>
            ${mpp} <span class="quiet">${magnificationText(mpp)}</span>
          </button>`,
      )}
      <button type="button" class="button small" onClick=${() => askPicture(picture, null)} disabled=${busy}>
        not known
      </button>
    </div>
    <p id="mpp-hint" class=${refused ? 'refused' : 'hint'}>
      ${
        refused
          ? 'Give a number from 0.05 to 20, such as 0.5 for a 20× scan.'
          : 'Where it is not known, the whole picture is taken as one view; hits may be of another scale.'
      }
    </p>
  </form>`;
}

const blankText = (why) => `This picture looks blank: ${why}. Search anyway?`;

export function AskPicture() {
  const picture = useStore((state) => state.pending);
  if (!picture) return html`<${Chooser} />`;
  return html`<div class="pending">
    ${
      picture.preview
        ? html`<${Preview} canvas=${picture.preview.canvas} px=${220} label=${`Your picture ${picture.name}`} />`
        : html`<p class="hint">No preview: the browser cannot show this file; perhaps the server can read it.</p>`
    }
    <p class="file-name">${picture.name}</p>
    ${picture.blank && html`<p class="warning">${blankText(picture.blank)}</p>`}
    <${ScaleForm} key=${picture.name + picture.file.size} picture=${picture} />
    <button type="button" class="button small" onClick=${cancel}>Another picture</button>
  </div>`;
}
