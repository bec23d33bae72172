// The numbers: the three services with their health, events by type, and what was refused and why.

import { colour, typesOf } from './charts.js';
import { byId, bytes, count, duration, element, number, say } from './element.js';

const STATES = { ready: 'ready', not_ready: 'not ready', no_answer: 'no answer' };

/** What the reasons mean, for people. */
const REASONS = {
  malformed: 'not one JSON object with one meaning',
  too_large: 'larger than an event may be',
  invalid_envelope: 'a shared field is of the wrong form',
  missing_type: 'no event type',
  type_mismatch: 'another type than the path says',
  unknown_type: 'no such event type',
  unknown_version: 'no such version of the schema',
  forbidden: 'the credential may not send this type',
  invalid: 'the schema says no',
};

/** The same for requests of which no event was looked at. */
const REFUSALS = {
  unauthenticated: 'no credential, or a wrong one',
  too_many_failures: 'too many wrong credentials from there',
  unknown_type: 'no such event type in the path',
  forbidden: 'the credential may not send the type in the path',
  not_json: 'the body is not JSON',
  wrong_shape: 'JSON, but neither an event nor several',
  too_many_events: 'more events than a request may have',
  body_too_large: 'larger than a body may be',
  body_too_slow: 'the body came too slowly',
  overloaded: 'too much was in hand',
  client_quota: 'the quota of the client is used up',
  partner_quota: 'the quota of its partner is used up',
};

const total = (counts, field) => Object.values(counts.types).reduce((sum, type) => sum + type[field], 0);

/** Large figure and small facts of each service. */
const STATIONS = {
  events: (counts) => [total(counts, 'accepted'), [
    ['rejected', number(total(counts, 'rejected'))],
    ['sent twice', number(total(counts, 'duplicate'))],
    ['waiting on disk', number(counts.spooled_records)],
  ]],
  hoard: (counts, objects) => [counts.archived_lines, [
    ['behind the stream', duration(counts.lag_seconds)],
    ['compressed to', counts.uncompressed_bytes ? `${Math.round((100 * counts.stored_bytes) / counts.uncompressed_bytes)} %` : '–'],
    ['in the bucket', `${count(objects.china.objects, 'object')}, ${bytes(objects.china.bytes)}`],
  ]],
  syncomatic: (counts, objects) => [counts.copied_objects, [
    ['oldest in hand', duration(counts.oldest_in_hand_seconds)],
    ['not copied yet', number(Math.max(0, objects.china.objects - objects.europe.objects))],
    ['in the bucket', `${count(objects.europe.objects, 'object')}, ${bytes(objects.europe.bytes)}`],
  ]],
};

function station(service, counts, objects) {
  const place = byId(service.name);
  const state = place.querySelector('.state');
  state.dataset.state = service.state;
  const because = service.because.length ? `: ${service.because.join('; ')}` : '';
  say(state.lastElementChild, STATES[service.state] + because);
  const [figure, facts] = STATIONS[service.name](counts, objects);
  say(place.querySelector('b'), number(figure));
  const list = place.querySelector('dl');
  if (!list.children.length) {
    list.append(...facts.map(([name]) => element('div', {}, element('dt', {}, name), element('dd'))));
  }
  facts.forEach(([, value], index) => say(list.children[index].lastElementChild, value));
}

function types(counts, choices) {
  const names = typesOf(counts, choices);
  const row = (name, { accepted, rejected }) =>
    element('tr', {},
      element('th', { scope: 'row' }, element('i', { class: `swatch ${colour(name, names)}` }), name),
      element('td', {}, number(accepted)),
      element('td', { class: rejected ? 'bad' : undefined }, number(rejected)));
  const rows = names.map((name) => row(name, counts.types[name] ?? { accepted: 0, rejected: 0 }));
  const { unknown } = counts.types;
  if (unknown?.rejected) rows.push(row('of no known type', unknown));
  byId('types').replaceChildren(...rows);
}

function reasons(counts) {
  const listed = (by, meanings, noun) => Object.entries(by).map(([name, times]) => [times, name, meanings[name], noun]);
  const all = [...listed(counts.rejections, REASONS, 'event'), ...listed(counts.refusals, REFUSALS, 'request')];
  all.sort(([a], [b]) => b - a);
  const most = all[0]?.[0] ?? 0;
  const items = all.map(([times, name, meaning, noun]) => {
    const bar = element('span', { class: 'bar' });
    bar.style.width = `${(100 * times) / most}%`;
    return element('li', {},
      element('code', {}, name), element('b', {}, count(times, noun)),
      meaning ? element('small', {}, meaning) : '', element('span', { class: 'track', 'aria-hidden': 'true' }, bar));
  });
  byId('reasons').replaceChildren(...items);
  say(byId('rejected-now'), all.length ? '' : 'nothing so far');
}

function links(live) {
  const places = [
    [`${live.api}/docs`, 'the API, to read and try'],
    ...live.services.map((service) => [service.metrics_url, `metrics of ${service.name}`]),
  ];
  const list = places.flatMap(([href, text], index) => [index ? ' · ' : '', element('a', { href, rel: 'noreferrer' }, text)]);
  byId('links').replaceChildren(...list);
}

/** The part of the page that counts. */
export function counts() {
  let linked = '';
  return {
    show(live, { choices }) {
      live.services.forEach((service) => station(service, live.counts, live.objects));
      types(live.counts, choices);
      reasons(live.counts);
      const linking = `${live.api} ${live.services.length}`;
      if (linking !== linked) links(live);
      linked = linking;
    },
    lose() {
      for (const state of document.querySelectorAll('.station .state')) {
        state.dataset.state = 'unknown';
        say(state.lastElementChild, 'not known now');
      }
    },
  };
}
