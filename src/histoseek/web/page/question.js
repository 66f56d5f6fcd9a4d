/** The question as it stands: its examples with + and −, the marks, and undo. */
import { Preview } from './ask_picture.js';
import { api } from './api.js';
import { clearQuestion, mark, removeExample, turnExample, undo } from './actions.js';
import { html } from './drawing.js';
import { IconButton } from './icons.js';
import { mppText } from './scale.js';
import { useStore } from './store.js';

function nameOf(example) {
  if (example.kind === 'text') return `“${example.text}”`;
  if (example.kind === 'item') return example.hit?.label ? `Item: ${example.hit.label}` : 'Item';
  return example.caption ?? (example.kind === 'region' ? 'Part of a slide' : 'Picture');
}

function aboutOf(example) {
  if (example.kind === 'picture') return mppText(example.mpp);
  if (example.kind === 'item') return [example.hit?.slide?.name, example.hit?.patient].filter(Boolean).join(' · ');
  if (example.kind === 'region') return example.region.polygon ? 'polygon on a slide' : 'box on a slide';
  return 'words';
}

function Thumb({ example }) {
  if (example.preview) return html`<${Preview} canvas=${example.preview.canvas} px=${40} label="" />`;
  if (example.kind === 'item') return html`<img src=${api.thumbnailUrl(example.item, 64)} alt="" />`;
  return html`<span class="thumb-kind" aria-hidden="true">${{ text: 'Aa', region: '▭' }[example.kind] ?? '◩'}</span>`;
}

/** A marked hit; a click takes the mark away. */
function Marked({ id, sign }) {
  const said = sign > 0 ? 'relevant' : 'not relevant';
  return html`<li>
    <button
      type="button"
      class=${sign > 0 ? 'marked' : 'marked minus'}
      title=${`Marked ${said}; click to take the mark away`}
      aria-label=${`Take away the mark ${said}`}
      onClick=${() => mark({ id }, sign)}
    >
      <img src=${api.thumbnailUrl(id, 64)} alt="" /><span aria-hidden="true">${sign > 0 ? '+' : '−'}</span>
    </button>
  </li>`;
}

function Example({ example }) {
  const isPlus = example.weight > 0;
  const name = nameOf(example);
  return html`<li class=${isPlus ? 'example' : 'example minus'}>
    <${IconButton}
      icon=${isPlus ? 'plus' : 'minus'}
      className="sign"
      label=${isPlus ? `${name} counts for; turn to against` : `${name} counts against; turn to for`}
      onClick=${() => turnExample(example.key)}
    />
    <${Thumb} example=${example} />
    <span class="example-text"><span class="name">${name}</span><span class="quiet">${aboutOf(example)}</span></span>
    <${IconButton} icon="close" label=${`Remove ${name}`} onClick=${() => removeExample(example.key)} />
  </li>`;
}

export function Question() {
  const examples = useStore((state) => state.examples);
  const marks = useStore((state) => state.marks);
  const canUndo = useStore((state) => state.past.length > 0);
  const marked = Object.entries(marks);
  if (!examples.length && !canUndo) return null;
  return html`<div class="question">
    <div class="row head">
      <h3>Question</h3>
      <button type="button" class="link" disabled=${!canUndo} onClick=${undo}>Undo</button>
      <button type="button" class="link" disabled=${!examples.length} onClick=${clearQuestion}>Clear</button>
    </div>
    <ul class="examples">
      ${examples.map((example) => html`<${Example} key=${example.key} example=${example} />`)}
    </ul>
    ${
      marked.length > 0 &&
      html`<p class="quiet marks">and hits that you marked</p>
        <ul class="marks">
          ${marked.map(([id, { sign }]) => html`<${Marked} key=${id} id=${id} sign=${sign} />`)}
        </ul>`
    }
  </div>`;
}
