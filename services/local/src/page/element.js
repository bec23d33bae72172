// Elements and words. Everything that is put in is put in as text, never as markup: the page's policy
// has the browser refuse anything else.

const SVG = 'http://www.w3.org/2000/svg';

/** An element with attributes and children; children that are strings become text. */
export const element = (name, attributes = {}, ...children) =>
  filled(document.createElement(name), attributes, children);

/** The same for drawings. */
export const drawn = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children);
  return node;
}

/** The element of the document with this id. */
export const byId = (id) => document.getElementById(id);

/** Puts a text in only if it is another one: screen readers and selections are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { maximumSignificantDigits: 2 });

/** `1,234` */
export const number = (value) => whole.format(value);

/** `1,234 events`, `1 event` */
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? '' : 's'}`;

/** `0.4` or `350`, for rates. */
export const rate = (value) => (value >= 10 ? whole.format(value) : short.format(value));

/** `38 ms`, `2.1 s`, `4 min`: how long. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${whole.format(seconds * 1000)} ms`;
  if (seconds < 99.5) return `${seconds.toFixed(1)} s`;
  return `${whole.format(seconds / 60)} min`;
}

/** `8.4 KiB` */
export function bytes(value) {
  let rest = value;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (rest < 1024 || unit === 'GiB') return `${unit === 'B' ? rest : rest.toFixed(1)} ${unit}`;
    rest /= 1024;
  }
}

/** `14:03:21`, by the clock of the reader. */
export const clock = (milliseconds) =>
  new Date(milliseconds).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** Reads an answer; one that is not good becomes an error with the sentence that it has. */
export async function read(answer) {
  if (answer.ok) return answer.json();
  let sentence = `local answers ${answer.status}`;
  try {
    sentence = (await answer.json()).error ?? sentence;
  } catch {
    // It is not JSON; the status is all there is to say.
  }
  throw Object.assign(new Error(sentence), { answered: true });
}
