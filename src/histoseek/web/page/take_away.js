/** Take the hits away: as files, or as a link that asks the same again. */
import { exportHits } from './actions.js';
import { Dialog } from './dialog.js';
import { html, useState } from './drawing.js';
import { closeDialog } from './looking.js';
import { fragmentOf } from './permalink.js';
import { now } from './store.js';

const FORMATS = [
  ['csv', 'CSV', 'one row a hit, for a spreadsheet'],
  ['geojson', 'GeoJSON', 'one file a slide in a zip, for QuPath'],
  ['parquet', 'Parquet', 'one row a hit with all columns, for Python or R'],
  ['sheet', 'Contact sheet', 'the hits on one picture'],
  ['session', 'Session', 'the question as JSON; the command line replays it'],
];

const WHOLE = 'It holds ids, words, filters and marks, and the version of the archive.';
const PARTLY =
  'A picture of yours and items chosen on the map are not in it: a link holds no pixels. Save the session instead.';

const NONE =
  'There is no link to this question: it was asked with a picture of yours alone, and a link holds no pixels. ' +
  'Save the session instead.';

function linkOf(fragment) {
  return `${location.origin}${location.pathname}#${fragment}`;
}

function Link() {
  const [isCopied, setCopied] = useState(false);
  const { fragment, isWhole, asksSomething } = fragmentOf(now());
  if (!asksSomething) return html`<p class="hint">${NONE}</p>`;
  const copy = () =>
    navigator.clipboard?.writeText(linkOf(fragment)).then(
      () => setCopied(true),
      () => setCopied(false),
    );
  return html`<div class="permalink">
    <label for="link">Link to this question</label>
    <div class="row">
      <input id="link" readonly value=${linkOf(fragment)} onFocus=${(event) => event.target.select()} />
      <button type="button" class="button" onClick=${copy}>${isCopied ? 'Copied' : 'Copy'}</button>
    </div>
    <p class="hint">
      ${isWhole ? WHOLE : PARTLY}
    </p>
  </div>`;
}

export function TakeAway() {
  const [running, setRunning] = useState(null);
  const save = async (format) => {
    setRunning(format);
    const isSaved = await exportHits(format);
    setRunning(null);
    if (!isSaved) closeDialog();
  };
  return html`<${Dialog} title="Take away" onClose=${closeDialog}>
    <ul class="formats">${FORMATS.map(
      ([format, name, what]) =>
        html`<li key=${format}>
          <button
            type="button"
            class="format"
            data-format=${format}
            disabled=${running !== null}
            aria-busy=${String(running === format)}
            onClick=${() => save(format)}
          >
            <strong>${name}</strong><span class="quiet">${running === format ? 'being made…' : what}</span>
          </button>
        </li>`,
    )}</ul>
    <${Link} />
    <p class="hint">Slides and patients go by the names of this archive (S-…, P-…). Research use only.</p>
  </${Dialog}>`;
}
