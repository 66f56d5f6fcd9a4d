/** The form for a key, where the server wants one. */
import { logIn } from './actions.js';
import { html, useEffect, useRef, useState } from './drawing.js';

export function Login() {
  const [key, setKey] = useState('');
  const [refusal, setRefusal] = useState(null);
  const [isBusy, setBusy] = useState(false);
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    setRefusal(null);
    try {
      await logIn(key.trim());
    } catch (error) {
      setRefusal(error.message);
      setBusy(false);
    }
  };
  return html`<main class="login">
    <form onSubmit=${submit}>
      <h1>Histoseek</h1>
      <p>This archive asks for a key. Whoever runs the server has it.</p>
      <input type="text" name="username" autocomplete="username" value="histoseek" hidden readonly />
      <label for="key">Key</label>
      <input
        ref=${field}
        id="key"
        type="password"
        autocomplete="current-password"
        required
        value=${key}
        aria-describedby="key-refused"
        aria-invalid=${String(Boolean(refusal))}
        onInput=${(event) => setKey(event.target.value)}
      />
      <p id="key-refused" class="refused" role="alert">${refusal}</p>
      <button type="submit" class="button strong" disabled=${isBusy}>Open the archive</button>
      <p class="ruo">Research use only</p>
    </form>
  </main>`;
}
