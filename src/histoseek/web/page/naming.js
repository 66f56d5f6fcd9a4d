/** How columns of the archive and their values are called on the page. */
import { magnificationText, mppText, valueText } from './scale.js';

const NAMES = { mpp: 'Scale', label_source: 'Where labels come from', qc: 'Quality' };

export function columnName(column) {
  const words = column.replaceAll('_', ' ');
  return NAMES[column] ?? words[0].toUpperCase() + words.slice(1);
}

export function columnValue(column, value) {
  if (value === null) return 'none';
  return column === 'mpp' ? `${magnificationText(value)} (${mppText(value)})` : valueText(value);
}
