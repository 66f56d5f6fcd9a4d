/** What the archive is: its encoder, its version, its licence, and how good its answers were when measured. */
import { Dialog } from './dialog.js';
import { html } from './drawing.js';
import { closeDialog } from './looking.js';
import { mppText, number, valueText } from './scale.js';
import { useStore } from './store.js';

const percent = (share) => (Number.isFinite(share) ? `${(share * 100).toFixed(1)} %` : 'not measured');

/** No cosine reaches a floor above 1: nothing that was measured was better than slight agreement. */
function floorText(floor) {
  if (floor === null) return 'not calibrated';
  return floor > 1 ? 'every score: best hits were hardly ever right' : floor.toFixed(3);
}

function factsOf(index) {
  return [
    ['Name', index.name],
    ['Version', index.version],
    ['Items', number(index.n_items)],
    ['Slides', number(index.n_slides)],
    ['Patients', index.n_patients ? number(index.n_patients) : 'unknown'],
    ['Encoder', `${index.encoder}, ${index.dim} numbers a picture`],
    ['Asked at', mppText(index.mpp)],
    ['Fingerprint', index.fingerprint],
    ['Words', index.has_text ? 'can be asked' : (index.text_why_not ?? 'cannot be asked')],
    ['Licence of the images', index.licence ?? 'not stated'],
    [
      'Neighbours found',
      index.search_recall === null
        ? 'all: every search is exact'
        : percent(index.search_recall),
    ],
    ['“Not similar enough” below', floorText(index.floor)],
  ];
}

function Reliability({ rows }) {
  if (rows?.length === 0)
    return html`<p class="hint">
      The report of an evaluation holds too few queries to say how often a vote is right.
    </p>`;
  if (!rows)
    return html`<p class="hint">
      No report of an evaluation was given to the server (<code>--report</code>), so the reliability of a vote is not
      known.
    </p>`;
  return html`<table>
    <caption>
      How often a vote for a label was right, on held-out queries
    </caption>
    <thead>
      <tr>
        <th scope="col">Label</th>
        <th scope="col" class="num">Right</th>
        <th scope="col" class="num">95 %</th>
        <th scope="col" class="num">Queries</th>
        <th scope="col" class="num">Patients</th>
      </tr>
    </thead>
    <tbody>
      ${rows.map(
        (row) =>
          html`<tr key=${row.label}>
            <th scope="row">${row.label}</th>
            <td class="num">${percent(row.precision)}</td>
            <td class="num">${`${percent(row.low)} – ${percent(row.high)}`}</td>
            <td class="num">${valueText(row.n_queries)}</td>
            <td class="num">${valueText(row.n_groups)}</td>
          </tr>`,
      )}
    </tbody>
  </table>`;
}

export function About() {
  const index = useStore((state) => state.index);
  return html`<${Dialog} title="About this archive" onClose=${closeDialog}>
    <dl class="facts">${factsOf(index).map(
      ([name, value]) =>
        html`<div key=${name}>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>`,
    )}</dl>
    <${Reliability} rows=${index.reliability} />
    <p><strong>Research use only.</strong> Hits show likeness of pictures. They are no diagnosis and replace none.</p>
  </${Dialog}>`;
}
