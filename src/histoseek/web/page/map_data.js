/** The map of the archive as the server sends it: places, values of a column, and ids of chosen rows. */
import { api } from './api.js';

const ROWS_AT_ONCE = 1000;
export const NONE = 65535;

/** Codes of a column as base64 of little-endian uint16. */
function codesFrom(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Uint16Array(bytes.buffer);
}

/** Names, codes a row, how many rows have each, and how many have none. */
export async function columnOf(name) {
  const { names, codes } = await api.mapColumn(name);
  const rows = codesFrom(codes);
  const counts = new Array(names.length).fill(0);
  let nWithout = 0;
  for (const code of rows) {
    if (code === NONE) nWithout += 1;
    else if (code < counts.length) counts[code] += 1;
  }
  return { name, names, codes: rows, counts, nWithout };
}

export async function idsOf(rows) {
  const ids = [];
  for (let at = 0; at < rows.length; at += ROWS_AT_ONCE) {
    ids.push(...(await api.mapIds(rows.slice(at, at + ROWS_AT_ONCE).join(','))).ids);
  }
  return ids;
}

/** Where items lie on the map; those that are not on it are left out. */
export async function rowsOf(ids) {
  const { rows } = await api.mapRows(ids.slice(0, ROWS_AT_ONCE).join(','));
  return rows.filter((row) => row !== null);
}
