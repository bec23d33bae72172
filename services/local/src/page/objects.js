// The objects as they land on both sides, and a look inside one.

import { byId, bytes, clock, count, element, number, read, say } from './element.js';

/** The parts of a key that tell objects apart: day, shard, and the first record's number without its zeros. */
function named({ key }) {
  const parts = /^(?:.*\/)?(\d{4})\/(\d{2})\/(\d{2})\/.*shardId-0*(\d+)-(\d+)/.exec(key);
  if (!parts) return [key, ''];
  const [, year, month, day, shard, first] = parts;
  return [`${year}-${month}-${day} shard ${shard}`, `from ${first.replace(/0{6,}/g, '…')}`];
}

function place(milliseconds, word, state) {
  const text = milliseconds === null ? word : clock(milliseconds);
  return element('span', { class: 'place', 'data-state': state }, element('i', { 'aria-hidden': 'true' }), text,
    milliseconds === null ? '' : element('small', {}, word));
}

function europe(object) {
  if (object.europe_ms === null) return place(null, 'on its way', 'waiting');
  return object.equal ? place(object.europe_ms, 'equal', 'good') : place(object.europe_ms, 'NOT equal', 'bad');
}

function row(object, fresh, open) {
  const [name, from] = named(object);
  const button = element('button', { type: 'button', class: 'open', title: object.key }, name, ' ', element('small', {}, from));
  button.addEventListener('click', () => open('china', object.key));
  const cell = (label, ...content) => element('td', { 'data-label': label }, ...content);
  return element('tr', { class: fresh ? 'fresh' : undefined },
    element('th', { scope: 'row' }, button),
    cell('Events', object.events === null ? '…' : number(object.events)),
    cell('Size', bytes(object.bytes)),
    cell('China', place(object.china_ms, 'stored', 'good')),
    cell('Europe', europe(object)));
}

/** JSON with its names and values told apart by class; what is not JSON stays plain text. */
function coloured(text) {
  const parts = [];
  let end = 0;
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|(-?\d[\d.eE+-]*|true|false|null)/g;
  for (const match of text.matchAll(token)) {
    parts.push(text.slice(end, match.index));
    const kind = match[2] ? 'name' : match[1] ? 'text' : 'value';
    parts.push(element('span', { class: kind }, match[1] ?? match[3]), match[2] ?? '');
    end = match.index + match[0].length;
  }
  return [...parts, text.slice(end)];
}

const facts = (pairs) =>
  element('dl', { class: 'facts' }, ...pairs.map(([name, value]) => element('div', {}, element('dt', {}, name), element('dd', {}, value))));

function inside(object) {
  const { metadata } = object;
  const events = Number(metadata['record-count']);
  const of = Number.isFinite(events) && events > object.lines.length ? ` of ${number(events)}` : '';
  return [
    element('p', { class: 'key' }, `s3://${object.bucket}/${object.key}`),
    facts([
      ['events', Number.isFinite(events) ? number(events) : 'not said'],
      ['size', bytes(object.bytes)],
      ['before compression', metadata['uncompressed-bytes'] ? bytes(Number(metadata['uncompressed-bytes'])) : 'not said'],
      ['stored', clock(object.modified_ms)],
      ['content type', object.content_type],
      ['ETag', object.etag.replaceAll('"', '')],
    ]),
    element('h3', {}, `First lines`, element('small', {}, ` ${count(object.lines.length, 'line')}${of}`)),
    element('ol', { class: 'lines', tabindex: '0', 'aria-label': 'First lines' }, ...object.lines.map((line) =>
      element('li', {}, element('code', {}, ...coloured(line.text), line.whole ? '' : ' …')))),
    element('h3', {}, 'Metadata'),
    facts(Object.entries(metadata)),
  ];
}

/** The dialog that shows an object. */
function viewer() {
  const dialog = byId('inside');
  const content = byId('inside-content');
  const sides = [...dialog.querySelectorAll('[data-side]')];
  let shown = { side: '', key: '' };

  async function open(side, key) {
    const asked = { side, key };
    shown = asked;
    for (const button of sides) button.setAttribute('aria-pressed', String(button.dataset.side === side));
    content.setAttribute('aria-busy', 'true');
    if (!dialog.open) {
      content.replaceChildren(element('p', { class: 'empty' }, 'Opening …'));
      dialog.showModal();
    }
    let parts;
    try {
      parts = inside(await read(await fetch(`/page/object?${new URLSearchParams({ side, key })}`)));
    } catch (error) {
      parts = [element('p', { class: 'key' }, key), element('p', { class: 'problem' }, `It cannot be opened: ${error.message}.`)];
    }
    // Another one may have been asked for meanwhile.
    if (shown !== asked) return;
    content.replaceChildren(...parts);
    content.setAttribute('aria-busy', 'false');
  }

  for (const button of sides) button.addEventListener('click', () => open(button.dataset.side, shown.key));
  byId('inside-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  return open;
}

/** The part of the page that lists objects. */
export function objects() {
  const open = viewer();
  document.addEventListener('open-object', (event) => open(event.detail.side, event.detail.key));
  const rows = new Map();
  let first = true;
  return {
    show(live) {
      const { china, europe: copies, latest } = live.objects;
      const sums = `${number(china.objects)} in China, ${number(copies.objects)} in Europe`;
      say(byId('objects-now'), china.objects ? sums : '');
      byId('landed-empty').hidden = latest.length > 0;
      byId('landed').closest('table').hidden = latest.length === 0;
      const list = latest.map((object) => {
        const state = JSON.stringify(object);
        const known = rows.get(object.key);
        if (known?.state === state) return known.node;
        const node = row(object, !first && !known, open);
        rows.set(object.key, { state, node });
        return node;
      });
      const body = byId('landed');
      // Rows that have not changed keep their focus: the list is laid anew only where it differs.
      const same = body.children.length === list.length && list.every((node, index) => body.children[index] === node);
      if (!same) lay(body, list);
      for (const key of rows.keys()) if (!latest.some((object) => object.key === key)) rows.delete(key);
      first = false;
    },
  };
}

/** Lays the rows with as few moves as it takes, and gives focus back to the row that had it. */
function lay(body, list) {
  const focused = body.contains(document.activeElement) ? document.activeElement.title : null;
  for (const node of [...body.children]) if (!list.includes(node)) node.remove();
  list.forEach((node, index) => {
    if (body.children[index] !== node) body.insertBefore(node, body.children[index] ?? null);
  });
  if (focused && !body.contains(document.activeElement)) {
    [...body.querySelectorAll('button')].find((button) => button.title === focused)?.focus();
  }
}
