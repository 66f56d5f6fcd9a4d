/** The page: header, question, what was found, context. */
import { followAddress, start } from './actions.js';
import { About } from './about.js';
import { AskPanel } from './ask_panel.js';
import { DropAnywhere } from './ask_picture.js';
import { Compare } from './compare.js';
import { Context } from './context.js';
import { html, render } from './drawing.js';
import { Header } from './header.js';
import { Help } from './help.js';
import { Failure, Hits } from './hits.js';
import { listenToKeys } from './keys.js';
import { Login } from './login.js';
import { show } from './looking.js';
import { MapView } from './map_view.js';
import { SlideView } from './slide_view.js';
import { useStore } from './store.js';
import { TabPanel, Tabs } from './tabs.js';
import { TakeAway } from './take_away.js';

const VIEWS = { hits: Hits, slide: SlideView, map: MapView };
const DIALOGS = { help: Help, about: About, export: TakeAway };

function viewTabs(state) {
  return [
    ['hits', 'Hits'],
    ...((state.slides ?? []).length ? [['slide', 'Slide']] : []),
    ...(state.index.has_map ? [['map', 'Map']] : []),
  ];
}

function Views() {
  const view = useStore((state) => state.view);
  const problem = useStore((state) => state.problem);
  const hasSlides = useStore((state) => (state.slides ?? []).length > 0);
  const index = useStore((state) => state.index);
  const tabs = viewTabs({ slides: hasSlides ? [1] : [], index });
  return html`<main class="found" id="found" tabindex="-1">
    <${Tabs} group="view" label="What is shown" tabs=${tabs} chosen=${view} choose=${show} />
    ${problem && html`<${Failure} problem=${problem} />`}
    <${TabPanel} group="view" chosen=${view} className=${`view view-${view}`}><${VIEWS[view]} /></${TabPanel}></main>`;
}

function Waiting() {
  const problem = useStore((state) => state.problem);
  return html`<main class="waiting">
    ${problem ? html`<${Failure} problem=${problem} canClose=${false} />` : html`<p>Opening the archive…</p>`}
  </main>`;
}

function Announcer() {
  const text = useStore((state) => state.announced);
  return html`<p class="visually-hidden" aria-live="polite" role="status">${text}</p>`;
}

function Page() {
  const isLocked = useStore((state) => Boolean(state.session?.needs_key && !state.session.role));
  const index = useStore((state) => state.index);
  const dialog = useStore((state) => state.dialog);
  const compare = useStore((state) => state.compare);
  const hasContext = useStore((state) => state.context !== null);
  if (isLocked) return html`<${Login} />`;
  const Open = compare ? Compare : DIALOGS[dialog];
  return html`<a class="skip" href="#found" onClick=${skip}>To what was found</a><${Header} />
    ${
      index
        ? html`<div class=${hasContext ? 'zones with-context' : 'zones'}>
            <${AskPanel} /><${Views} /><${Context} />
          </div>`
        : html`<${Waiting} />`
    }
    <${Announcer} />${Open && html`<${Open} key=${dialog ?? 'compare'} />`}<${DropAnywhere} />`;
}

/** The fragment belongs to the question, so the skip link only moves the focus. */
function skip(event) {
  event.preventDefault();
  document.getElementById('found')?.focus();
}

// Before the first drawing: a key pressed while the archive opens is not lost.
listenToKeys();
followAddress();
render(html`<${Page} />`, document.getElementById('page'));
start();
