/** The left side: ways to ask, the question as it stands, and what hits must keep to. */
import { AskPicture } from './ask_picture.js';
import { AskItem, AskWords } from './ask_words.js';
import { Filters } from './filters.js';
import { html } from './drawing.js';
import { Question } from './question.js';
import { Rules } from './rules.js';
import { SlideList } from './slide_list.js';
import { change, useStore } from './store.js';
import { TabPanel, Tabs } from './tabs.js';

const TABS = [
  ['image', 'Picture'],
  ['slide', 'Slide'],
  ['words', 'Words'],
  ['item', 'Item'],
];
const PANELS = { image: AskPicture, slide: SlideList, words: AskWords, item: AskItem };

const ADDING = [
  ['new', 'asks anew'],
  ['plus', 'adds +'],
  ['minus', 'adds −'],
];

/** Whether the next example begins a new question or joins this one. */
function Adding() {
  const adding = useStore((state) => state.adding);
  return html`<fieldset class="segments">
    <legend>Next</legend>
    ${ADDING.map(
      ([value, text]) =>
        html`<label key=${value}
          ><input
            type="radio"
            name="adding"
            value=${value}
            checked=${adding === value}
            onChange=${() => change({ adding: value })}
          /><span>${text}</span></label
        >`,
    )}
  </fieldset>`;
}

export function AskPanel() {
  const tab = useStore((state) => state.tab);
  const hasQuestion = useStore((state) => state.examples.length > 0);
  return html`<section class="ask" aria-labelledby="ask-title">
    <h2 id="ask-title">Ask</h2>
    <${Tabs} group="ask" label="Ways to ask" tabs=${TABS} chosen=${tab} choose=${(name) => change({ tab: name })} />
    <${TabPanel} group="ask" chosen=${tab} className="ask-with"><${PANELS[tab]} /></${TabPanel}>
    ${hasQuestion && html`<${Adding} />`}
    <${Question} />
    <${Rules} />
    <${Filters} />
  </section>`;
}
