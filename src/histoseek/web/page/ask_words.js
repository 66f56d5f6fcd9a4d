/** Ask in words, or with an item whose id is known. */
import { askItemId, askWords } from './actions.js';
import { html, useState } from './drawing.js';
import { useStore } from './store.js';

const ID = '[A-Za-z0-9_\\-]{16}';

export function AskWords() {
  const index = useStore((state) => state.index);
  const [text, setText] = useState('');
  if (!index?.has_text) {
    return html`<div class="explains">
      <p><strong>This archive cannot be asked in words.</strong></p>
      <p>${index?.text_why_not ?? 'Its encoder was trained on images alone.'}</p>
      <p class="hint">An archive that was built with an encoder of images and words opens this tab.</p>
    </div>`;
  }
  const submit = (event) => {
    event.preventDefault();
    if (text.trim()) askWords(text.trim());
  };
  return html`<form onSubmit=${submit}>
    <label for="words">What should it show?</label>
    <textarea
      id="words"
      rows="2"
      maxlength="1000"
      placeholder="e.g. nests of tumour cells around necrosis"
      value=${text}
      onInput=${(event) => setText(event.target.value)}
      onKeyDown=${(event) => event.key === 'Enter' && !event.shiftKey && submit(event)}
    ></textarea>
    <div class="row">
      <button type="submit" class="button strong" disabled=${!text.trim()}>Search</button>
      <span class="hint">in English, as a caption would say it</span>
    </div>
  </form>`;
}

export function AskItem() {
  const [id, setId] = useState('');
  const submit = (event) => {
    event.preventDefault();
    askItemId(id.trim());
  };
  return html`<form onSubmit=${submit}>
    <label for="item-id">Id of an item</label>
    <div class="row">
      <input
        id="item-id"
        value=${id}
        pattern=${ID}
        required
        spellcheck="false"
        autocomplete="off"
        title="16 letters, digits, - or _"
        onInput=${(event) => setId(event.target.value)}
      />
      <button type="submit" class="button strong">Search</button>
    </div>
    <p class="hint">Every hit shows its id beside its slide; a click on the map opens an item as well.</p>
  </form>`;
}
