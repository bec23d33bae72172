// The form: an event out of the schema's examples, sent as one of the demo clients, and what became of it.

import { byId, count, duration, element, read, say } from './element.js';

const WORDS = {
  accepted: ['good', 'Accepted'],
  duplicate: ['good', 'A duplicate'],
  rejected: ['bad', 'Rejected'],
  retry: ['waiting', 'To be sent again'],
};

const MEANINGS = {
  published: 'It is in Kinesis.',
  spooled: 'It is on disk, and will be in Kinesis as soon as Kinesis takes it.',
};

/** An event with one value of another type than its schema wants. */
function spoiled(event) {
  const shared = new Set(['eventtype', 'eventid', 'schemaversion']);
  const own = Object.keys(event).filter((name) => !shared.has(name));
  const numeric = own.find((name) => typeof event[name] === 'number');
  const name = numeric ?? own.findLast((candidate) => typeof event[candidate] === 'string') ?? 'deviceid';
  return { ...event, [name]: numeric ? 'many' : 42 };
}

function errors(result) {
  if (!result.errors?.length) return '';
  return element('ul', { class: 'errors' }, ...result.errors.map((error) =>
    element('li', {}, element('code', {}, error.pointer || 'the event'), ` ${error.message}`)));
}

/** What became of one event. */
function outcome(result, dryRun) {
  const [state, word] = WORDS[result.status] ?? ['bad', result.status];
  const said = dryRun && result.status === 'accepted' ? 'It would be accepted' : word;
  const meaning = dryRun ? 'Nothing was published.' : MEANINGS[result.durability] ?? '';
  const code = result.code ? element('p', {}, element('code', {}, result.code), ` ${result.message ?? result.detail ?? ''}`) : '';
  return element('div', { class: 'outcome', 'data-state': state },
    element('p', { class: 'badge' }, said),
    meaning ? element('p', {}, meaning) : '', code, errors(result),
    result.eventid ? element('p', { class: 'id' }, `eventid ${result.eventid}`) : '');
}

/** How far an accepted event has got; grows as it is seen. */
function travel(eventid) {
  const step = (text) => element('li', { 'data-state': 'waiting' }, element('i', { 'aria-hidden': 'true' }), element('span', {}, text));
  const steps = [step('accepted'), step('waiting for its object in China'), step('waiting for the copy in Europe')];
  steps[0].dataset.state = 'good';
  const open = element('button', { type: 'button', hidden: true }, 'Look at it in its object');
  let key = '';
  open.addEventListener('click', () => {
    const side = steps[2].dataset.state === 'good' ? 'europe' : 'china';
    document.dispatchEvent(new CustomEvent('open-object', { detail: { side, key } }));
  });
  const arrived = (item, text) => {
    item.dataset.state = 'good';
    say(item.lastElementChild, text);
  };
  return {
    eventid,
    node: element('div', { class: 'travel' }, element('ol', {}, ...steps), open),
    show(whereabouts) {
      if (whereabouts.china_seconds !== null) {
        arrived(steps[1], `in China after ${duration(whereabouts.china_seconds)}`);
        key = whereabouts.key;
        open.hidden = false;
      }
      if (whereabouts.europe_seconds !== null) arrived(steps[2], `in Europe after ${duration(whereabouts.europe_seconds)}`);
    },
  };
}

/** The part of the page that sends. */
export function send() {
  const form = byId('trial');
  const [eventtype, example, client, body] = ['eventtype', 'example', 'client', 'body'].map(byId);
  const buttons = form.querySelectorAll('button');
  let types = [];
  let travelling = [];
  let offered = null;

  const chosen = () => types.find((type) => type.eventtype === eventtype.value);
  const fill = (event) => { body.value = JSON.stringify(event, null, 2); };

  function choose() {
    const type = chosen();
    if (!type) return;
    say(byId('about'), `${type.description} Schema ${type.version}.`);
    example.replaceChildren(...type.examples.map((_, index) => element('option', { value: index }, `${index + 1} of ${type.examples.length}`)));
    example.disabled = type.examples.length < 2;
    fill(type.examples[0] ?? { eventtype: type.eventtype });
  }

  /** What can be chosen. What was chosen and typed stays, if it still can be. */
  function offer(choices) {
    types = choices.eventtypes;
    const before = [eventtype.value || 'play', client.value];
    eventtype.replaceChildren(...types.map((type) => element('option', { value: type.eventtype }, type.eventtype)));
    client.replaceChildren(...choices.clients.map(({ name, partner }) => element('option', { value: name }, `${name} (${partner})`)));
    if (types.some((type) => type.eventtype === before[0])) [eventtype.value] = before;
    if (choices.clients.some(({ name }) => name === before[1])) [, client.value] = before;
    if (!body.value) choose();
  }

  async function submit(dryRun) {
    for (const button of buttons) button.disabled = true;
    let parts;
    try {
      const wish = { client: client.value, body: body.value, dry_run: dryRun };
      const headers = { 'content-type': 'application/json' };
      parts = verdict(await read(await fetch('/page/send', { method: 'POST', headers, body: JSON.stringify(wish) })), dryRun);
    } catch (error) {
      const because = error.answered ? error.message : 'the pipeline does not answer';
      parts = [element('p', { class: 'problem' }, `It could not be sent: ${because}.`)];
    }
    byId('verdict').replaceChildren(...parts);
    for (const button of buttons) button.disabled = false;
  }

  function verdict({ status, milliseconds, answer }, dryRun) {
    const results = answer.results ?? [];
    travelling = dryRun ? [] : results.filter(({ status }) => status === 'accepted').slice(0, 8).map(({ eventid }) => travel(eventid));
    const details = element('details', {}, element('summary', {}, 'The whole answer'), element('pre', {}, JSON.stringify(answer, null, 2)));
    const refused = results.length ? [] : [element('div', { class: 'outcome', 'data-state': 'bad' },
      element('p', { class: 'badge' }, 'Refused'), element('p', {}, answer.detail ?? answer.title ?? 'The answer does not say why.'))];
    return [
      element('p', { class: 'answered' }, `Answered ${status} in ${duration(milliseconds / 1000)}${results.length > 1 ? `, ${count(results.length, 'event')}` : ''}`),
      ...refused,
      ...results.slice(0, 8).map((result) => outcome(result, dryRun)),
      ...travelling.map(({ node }) => node),
      details,
    ];
  }

  eventtype.addEventListener('change', choose);
  example.addEventListener('change', () => fill(chosen().examples[Number(example.value)]));
  form.addEventListener('submit', (event) => { event.preventDefault(); submit(false); });
  byId('check').addEventListener('click', () => submit(true));
  byId('spoil').addEventListener('click', () => {
    const event = chosen()?.examples[Number(example.value) || 0];
    if (event) fill(spoiled(event));
  });

  return {
    show(live, { choices }) {
      if (offered !== choices) offer(choices);
      offered = choices;
      for (const event of travelling) {
        const found = live.objects.followed.find(({ eventid }) => eventid === event.eventid);
        if (found) event.show(found);
      }
    },
  };
}
