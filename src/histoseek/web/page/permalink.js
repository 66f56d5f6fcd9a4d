/** The question in the address's fragment: ids, words, places, filters and marks; never pixels or vectors. */
import { RULES } from './store.js';

const SHORT = { k: 'k', per_slide: 'ps', min_score: 'ms', exclude_group: 'hp', collapse: 'nd' };

function exampleText(example) {
  const weight = example.weight === 1 ? {} : { w: example.weight };
  if (example.kind === 'item') return { i: example.item, ...weight };
  if (example.kind === 'text') return { t: example.text, ...weight };
  if (example.kind === 'region') return { r: example.region, ...weight };
  return null;
}

function exampleFrom({ i, t, r, w }) {
  const weight = Number.isFinite(w) && w !== 0 ? w : 1;
  if (typeof i === 'string') return { kind: 'item', item: i, weight };
  if (typeof t === 'string') return { kind: 'text', text: t, weight };
  if (r && typeof r === 'object') return { kind: 'region', region: r, weight };
  return null;
}

/** The fragment that asks the same again, whether something had to stay out of it, and whether anything is asked. */
export function fragmentOf({ examples, filters, only, rules, marks, index }) {
  const kept = examples.map(exampleText);
  const fields = new URLSearchParams();
  if (index) fields.set('v', index.version);
  const shareable = kept.filter(Boolean);
  if (shareable.length) fields.set('q', JSON.stringify(shareable));
  if (Object.keys(filters).length) fields.set('f', JSON.stringify(filters));
  const signs = Object.entries(marks).map(([id, mark]) => [id, mark.sign]);
  if (signs.length && shareable.length) fields.set('m', JSON.stringify(Object.fromEntries(signs)));
  for (const [name, short] of Object.entries(SHORT)) {
    if (rules[name] !== RULES[name]) fields.set(short, JSON.stringify(rules[name]));
  }
  const isWhole = shareable.length === examples.length && !only;
  return { fragment: fields.toString(), isWhole, asksSomething: shareable.length > 0 };
}

function parsed(text, otherwise) {
  try {
    return text === null ? otherwise : JSON.parse(text);
  } catch {
    return otherwise;
  }
}

const plain = (value) => (value && typeof value === 'object' && !Array.isArray(value) ? value : {});

/** What a fragment asks; parts that cannot be read count as absent. */
export function questionIn(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ''));
  const said = parsed(fields.get('q'), []);
  const examples = (Array.isArray(said) ? said : []).map((one) => exampleFrom(one ?? {})).filter(Boolean);
  const signs = Object.entries(plain(parsed(fields.get('m'), {}))).filter(([, sign]) => sign === 1 || sign === -1);
  const rules = { ...RULES };
  for (const [name, short] of Object.entries(SHORT)) rules[name] = parsed(fields.get(short), RULES[name]);
  return { version: fields.get('v'), examples, rules, filters: plain(parsed(fields.get('f'), {})), signs };
}
