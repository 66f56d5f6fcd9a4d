/** Switches that keep an answer honest and varied. */
import { setRule } from './actions.js';
import { html } from './drawing.js';
import { Options } from './options.js';
import { useStore } from './store.js';

const COUNTS = [10, 25, 50, 100];
const PER_SLIDE = [1, 2, 3, 5, 10];

function Switch({ name, text, why }) {
  const isOn = useStore((state) => state.rules[name]);
  return html`<label class="switch" title=${why}
    ><input
      type="checkbox"
      role="switch"
      checked=${isOn}
      onChange=${(event) => setRule(name, event.target.checked)}
    /><span>${text}</span></label
  >`;
}

export function Rules() {
  const rules = useStore((state) => state.rules);
  const onSlides = useStore((state) => (state.index?.n_slides ?? 0) > 0);
  return html`<div class="rules">
    <h3>Hits</h3>
    <${Switch}
      name="exclude_group"
      text="Hide the question's own patient"
      why="The same patient always looks alike; it flatters the answer"
    />
    <${Switch}
      name="collapse"
      text="Hide near-duplicates"
      why="Of one picture, of overlapping boxes and of what the encoder hardly tells apart, only the best is shown"
    />
    <div class="row">
      <label for="k">Show</label
      ><select id="k" value=${rules.k} onChange=${(event) => setRule('k', Number(event.target.value))}>
        <${Options} pairs=${[...new Set([...COUNTS, rules.k])].map((k) => [k, k])} chosen=${rules.k} />
      </select>
      ${
        onSlides &&
        html`<label for="per-slide">at most</label
          ><select
            id="per-slide"
            value=${rules.per_slide ?? 0}
            onChange=${(event) => setRule('per_slide', Number(event.target.value) || null)}
          >
            <${Options} pairs=${PER_SLIDE.map((n) => [n, `${n} a slide`])} chosen=${rules.per_slide} />
            <option value="0" selected=${rules.per_slide === null}>no limit</option>
          </select>`
      }
    </div>
  </div>`;
}
