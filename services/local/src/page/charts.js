// The three drawings: bars of events per second, and two lines of times. A drawing is a slider as well:
// pointer and arrow keys choose a second, and its values are shown and can be read aloud.

import { byId, clock, drawn, duration, element, rate, say } from './element.js';

const WINDOW_MS = 180_000;
/** Measured points that are farther apart are not joined: nothing is known of the time between. */
const JOINED_MS = 30_000;
const MARGIN = { top: 10, right: 8, bottom: 22, left: 44 };
/** Types with a colour of their own. */
const COLOURS = 7;

/** The colour's class of an event type: by its place among all, so that it stays the same. */
export function colour(name, names) {
  const place = names.indexOf(name);
  return place >= 0 && place < COLOURS ? `c${place}` : 'c-other';
}

/** The types that can be accepted, in the order of their colours: those of the catalogue, and what it no longer has. */
export function typesOf(counts, choices) {
  const known = choices.eventtypes.map(({ eventtype }) => eventtype);
  return known.concat(Object.keys(counts.types).filter((name) => name !== 'unknown' && !known.includes(name)));
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

/** The next round number at or above: 2, 4, 10, 20, 40, 100, … times `unit`. Its half is round too. */
function roundUp(value, unit) {
  for (let ten = unit; ; ten *= 10) {
    for (const step of [2, 4, 10]) if (value <= step * ten) return step * ten;
  }
}

class Chart {
  constructor(figure, title, kind) {
    this.kind = kind;
    this.title = title;
    this.chosen = null;
    this.points = [];
    this.svg = drawn('svg', { 'aria-hidden': 'true' });
    this.readout = element('div', { class: 'readout', hidden: true });
    this.empty = element('p', { class: 'empty' }, kind.empty);
    this.plane = element('div', { class: 'plane', role: 'slider', tabindex: '0', 'aria-label': `${title}: look at one second`, 'aria-orientation': 'horizontal' }, this.svg);
    figure.append(this.plane, this.readout, this.empty);
    this.plane.addEventListener('pointermove', (event) => this.point(event));
    this.plane.addEventListener('pointerdown', (event) => this.point(event));
    this.plane.addEventListener('pointerleave', () => this.choose(null));
    this.plane.addEventListener('blur', () => this.choose(null));
    this.plane.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  show(points, names) {
    this.points = points;
    this.names = names;
    this.draw();
  }

  /** The points that can be chosen: those that have something to say. */
  telling() {
    return this.points.filter((point) => this.kind.tells(point));
  }

  point(event) {
    const x = event.clientX - this.plane.getBoundingClientRect().left;
    const near = (point) => Math.abs(this.x(point) - x);
    const points = this.telling();
    this.choose(points.length ? points.reduce((best, point) => (near(point) < near(best) ? point : best)) : null);
  }

  key(event) {
    const points = this.telling();
    if (!points.length) return;
    const at = points.findIndex((point) => point.number === this.chosen);
    const last = points.length - 1;
    const from = at < 0 ? last + 1 : at;
    const to = {
      ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1,
      PageUp: from + 10, PageDown: from - 10, Home: 0, End: last,
    }[event.key];
    if (event.key === 'Escape') this.choose(null);
    if (to === undefined) return;
    event.preventDefault();
    this.choose(points[Math.min(Math.max(to, 0), last)]);
  }

  choose(point) {
    this.chosen = point?.number ?? null;
    this.draw();
  }

  x(point) {
    const before = this.points.at(-1).time_ms - point.time_ms;
    return this.width - MARGIN.right - (before / WINDOW_MS) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const height = this.height - MARGIN.top - MARGIN.bottom;
    return this.height - MARGIN.bottom - (value / this.top) * height;
  }

  draw() {
    this.width = this.plane.clientWidth;
    this.height = this.plane.clientHeight;
    if (!this.width) return;
    const telling = this.telling();
    this.empty.hidden = telling.length > 0;
    this.top = roundUp(Math.max(0, ...telling.map(this.kind.value)), this.kind.unit);
    const { svg } = this;
    svg.setAttribute('viewBox', `0 0 ${this.width} ${this.height}`);
    svg.replaceChildren(...this.axes(), ...this.kind.marks(this, telling));
    this.tell(telling);
  }

  axes() {
    const left = MARGIN.left;
    const right = this.width - MARGIN.right;
    const bottom = this.height - 6;
    const values = this.empty.hidden ? [0, this.top / 2, this.top] : [0];
    const levels = values.flatMap((value) => [
      drawn('line', { class: value ? 'grid' : 'axis', x1: left, x2: right, y1: this.y(value), y2: this.y(value) }),
      drawn('text', { x: left - 8, y: this.y(value) + 4, 'text-anchor': 'end' }, this.kind.label(value)),
    ]);
    const times = [['3 min ago', 0, 'start'], ['2', 1 / 3, 'middle'], ['1', 2 / 3, 'middle'], ['now', 1, 'end']];
    return levels.concat(times.map(([text, share, anchor]) =>
      drawn('text', { x: left + share * (right - left), y: bottom, 'text-anchor': anchor }, text)));
  }

  /** Shows the chosen second, and says it to those who do not see it. */
  tell(telling) {
    const point = telling.find(({ number }) => number === this.chosen);
    const { plane, readout, kind } = this;
    readout.hidden = !point;
    plane.setAttribute('aria-valuemin', telling[0]?.number ?? 0);
    plane.setAttribute('aria-valuemax', telling.at(-1)?.number ?? 0);
    plane.setAttribute('aria-valuenow', (point ?? telling.at(-1))?.number ?? 0);
    const rows = point ? kind.rows(point, this.names) : [];
    const values = rows.map(([name, value]) => `${name} ${value}`).join(', ');
    const latest = telling.length ? `The latest is from ${clock(telling.at(-1).time_ms)}.` : kind.empty;
    plane.setAttribute('aria-valuetext', point ? `${clock(point.time_ms)}: ${values}` : latest);
    if (!point) return;
    const x = this.x(point);
    this.svg.append(drawn('line', { class: 'chosen', x1: x, x2: x, y1: MARGIN.top, y2: this.height - MARGIN.bottom }));
    readout.replaceChildren(
      element('b', {}, clock(point.time_ms)),
      ...rows.map(([name, value, mark]) =>
        element('span', {}, element('i', { class: `swatch ${mark}` }), `${name} `, element('em', {}, value))),
    );
    const room = this.width - readout.offsetWidth;
    readout.style.left = `${Math.max(0, Math.min(x + 10 > room ? x - readout.offsetWidth - 10 : x + 10, room))}px`;
  }
}

/** Events per second, types one upon the other, rejected ones on top. */
const bars = {
  empty: 'No event in the last three minutes.',
  unit: 1,
  label: rate,
  tells: (point) => point.rejected > 0 || Object.keys(point.accepted).length > 0,
  value: (point) => (sum(Object.values(point.accepted)) + point.rejected) / point.seconds,
  rows(point, names) {
    const present = names.filter((name) => point.accepted[name]);
    const rows = present.map((name) => [name, rate(point.accepted[name] / point.seconds), colour(name, names)]);
    if (point.rejected) rows.push(['rejected', rate(point.rejected / point.seconds), 'c-rejected']);
    return rows;
  },
  marks(chart, points) {
    const slot = (chart.width - MARGIN.left - MARGIN.right) / (WINDOW_MS / 1000);
    const width = Math.max(slot - 1, 1.5);
    const marks = [];
    for (const point of points) {
      let bottom = chart.y(0);
      const layers = chart.names.map((name) => [point.accepted[name], colour(name, chart.names)]);
      for (const [events, mark] of [...layers, [point.rejected, 'c-rejected']]) {
        if (!events) continue;
        // One event among hundreds is still to be seen.
        const height = Math.max(chart.y(0) - chart.y(events / point.seconds), 2);
        bottom -= height;
        const y = Math.max(bottom, 0);
        marks.push(drawn('rect', { class: mark, x: chart.x(point) - slot / 2, y, width, height }));
      }
    }
    return marks;
  },
};

/** A time as it was measured, as dots that are joined. */
const line = (field, noun) => ({
  empty: 'Nothing measured in the last three minutes.',
  unit: 0.01,
  label: (value) => (value ? duration(value) : '0'),
  tells: (point) => point[field] !== null,
  value: (point) => point[field],
  rows: (point) => [[noun, duration(point[field]), 'c-line']],
  marks(chart, points) {
    let path = '';
    points.forEach((point, index) => {
      const joined = index > 0 && point.time_ms - points[index - 1].time_ms <= JOINED_MS;
      path += `${joined ? 'L' : 'M'}${chart.x(point).toFixed(1)} ${chart.y(point[field]).toFixed(1)}`;
    });
    const dots = points.map((point) => drawn('circle', { class: 'dot', cx: chart.x(point), cy: chart.y(point[field]), r: 3 }));
    return [drawn('path', { class: 'line', d: path }), ...dots];
  },
});

/** The part of the page that draws. */
export function charts() {
  const rates = new Chart(byId('rates'), 'Events per second', bars);
  const lines = [
    ['freshness', 'Into the archive', 'freshness_seconds', 'first event was'],
    ['replication', 'On to Europe', 'replication_seconds', 'copy took'],
  ].map(([id, title, field, noun]) => ({ id, field, chart: new Chart(byId(id), title, line(field, noun)) }));
  return {
    show(live, { points, choices }) {
      const names = typesOf(live.counts, choices);
      rates.show(points, names);
      for (const { id, field, chart } of lines) {
        chart.show(points, names);
        const last = points.findLast((point) => point[field] !== null);
        say(byId(`${id}-now`), last ? `last ${duration(last[field])}` : '');
      }
    },
  };
}
