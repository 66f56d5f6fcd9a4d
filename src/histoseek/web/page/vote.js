/** How the hits vote on a label, how many patients stand behind it, and how far that was right on held-out queries. */
import { labelPlace, lookOf } from './colours.js';
import { html } from './drawing.js';
import { Swatch } from './icons.js';
import { counted, number } from './scale.js';
import { useStore } from './store.js';

const SHOWN = 6;

const labelled = (vote) => vote.labels.reduce((sum, one) => sum + one.count, 0);

const percent = (share) => `${Math.round(share * 100)} %`;

/** Whose hits these are; a hit whose patient nobody knows counts as no patient. */
function ofPatients({ n_patients: known, n_unknown: unknown }) {
  if (!unknown) return counted(known, 'patient');
  const rest = `${number(unknown)} of unknown patients`;
  return known ? `${counted(known, 'patient')}, ${rest}` : rest;
}

function Part({ one }) {
  const index = useStore((state) => state.index);
  const look = lookOf(labelPlace(index, one.label));
  return html`<li>
    <${Swatch} look=${look} /><span class="name">${one.label}</span> <strong>${one.count}</strong>
    <span class="quiet"> ${percent(one.share)}, ${ofPatients(one)}</span>
  </li>`;
}

function Bars({ labels }) {
  const index = useStore((state) => state.index);
  return html`<div class="vote-bar" aria-hidden="true">
    ${labels.map(
      (one) =>
        html`<span
          key=${one.label}
          style=${{ flexGrow: one.share, background: lookOf(labelPlace(index, one.label)).colour }}
        ></span>`,
    )}
  </div>`;
}

/** A share with its interval, and on how much it stands. */
function trustText(vote) {
  const [low, high] = [vote.reliability_low, vote.reliability_high].map((share) => Math.round(share * 100));
  const queries = `${number(vote.n_queries)} held-out queries of ${counted(vote.n_query_groups, 'patient')}`;
  return `${percent(vote.reliability)} (${low}–${high} %) of ${queries}`;
}

function Trust({ vote }) {
  if (vote.abstain)
    return html`<p class="vote-said abstain">
      <strong>No clear answer.</strong> ${vote.reason ?? 'The hits do not agree.'}
    </p>`;
  const measured =
    vote.reliability === null
      ? 'how often such a vote is right has not been measured here, or on too few queries'
      : `such a vote was right in ${trustText(vote)}`;
  return html`<p class="vote-said">
    Most are <strong>${vote.winner}</strong>; <span class="quiet">${measured}</span>
  </p>`;
}

export function Vote({ vote, n }) {
  if (!vote) return null;
  if (!vote.labels.length) {
    return html`<section class="vote" aria-label="Labels of the hits"><${Trust} vote=${vote} /></section>`;
  }
  const rest = vote.labels.length - SHOWN;
  return html`<section class="vote" aria-label="Labels of the hits">
    <${Trust} vote=${vote} />
    <${Bars} labels=${vote.labels} />
    <ul class="vote-labels">
      ${vote.labels.slice(0, SHOWN).map((one) => html`<${Part} key=${one.label} one=${one} />`)}
      ${rest > 0 && html`<li class="quiet">and ${rest} other labels</li>`}
      <li class="quiet">
        ${labelled(vote)} of ${counted(n, 'hit')} labelled; ${ofPatients(vote)}
      </li>
    </ul>
  </section>`;
}
