/** The top line: which archive this is, that it is for research only, and help. */
import { logOut } from './actions.js';
import { html, useState } from './drawing.js';
import { IconButton } from './icons.js';
import { openDialog } from './looking.js';
import { Options } from './options.js';
import { number, patientsOf } from './scale.js';
import { useStore } from './store.js';

const THEMES = { system: 'as the system', light: 'light', dark: 'dark' };

function useTheme() {
  const [theme, setTheme] = useState(document.documentElement.dataset.theme ?? 'system');
  const choose = (next) => {
    setTheme(next);
    if (next === 'system') {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem('histoseek-theme');
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem('histoseek-theme', next);
    }
  };
  return [theme, choose];
}

function Theme() {
  const [theme, choose] = useTheme();
  return html`<label class="theme"
    ><span class="visually-hidden">Light or dark</span
    ><select value=${theme} onChange=${(event) => choose(event.target.value)}>
      <${Options} pairs=${Object.entries(THEMES)} chosen=${theme} />
    </select></label
  >`;
}

export function Header() {
  const index = useStore((state) => state.index);
  const hasKey = useStore((state) => Boolean(state.session?.needs_key && state.session.role));
  return html`<header class="top">
    <h1><img src="page/icon.svg" alt="" width="22" height="22" />Histoseek</h1>
    ${
      index &&
      html`<p class="archive">
        <strong>${index.name}</strong>
        <span>${number(index.n_items)} items</span
        >${index.n_slides > 0 && html`<span>${number(index.n_slides)} slides</span>`}
        <span>${patientsOf(index)}</span><span class="encoder">encoder ${index.encoder}</span>
      </p>`
    }
    <p class="ruo">Research use only</p>
    <${Theme} />
    ${index && html`<${IconButton} icon="info" label="About this archive" onClick=${() => openDialog('about')} />`}
    ${hasKey && html`<button type="button" class="button small" onClick=${logOut}>Sign out</button>`}
    <${IconButton} icon="help" label="Keyboard" title="Keyboard (?)" onClick=${() => openDialog('help')} />
  </header>`;
}
