// Asks once a second how things are, and has each part of the page show it. While the page is hidden it
// asks nothing.

import { charts } from './charts.js';
import { counts } from './counts.js';
import { byId, clock, read, say } from './element.js';
import { objects } from './objects.js';
import { send } from './send.js';

const EVERY_MS = 1000;
const AGAIN_MS = 2000;
const PATIENCE_MS = 5000;
const POINTS_MAX = 180;

const parts = [counts(), charts(), objects(), send()];

/** What is known, from one answer to the next. */
const known = { started: 0, choices: null, points: [], heard: 0 };

/** Another run of the program: its points begin anew, and its types may be others. */
async function meet(live, signal) {
  known.choices = await read(await fetch('/page/choices', { signal }));
  known.started = live.started_ms;
  known.points = [];
}

function learn(live) {
  known.points.push(...live.points);
  known.points.splice(0, known.points.length - POINTS_MAX);
  known.heard = Date.now();
}

async function ask() {
  const next = known.points.length ? known.points.at(-1).number + 1 : 0;
  const signal = AbortSignal.timeout(PATIENCE_MS);
  let live = await read(await fetch(`/page/live?from=${next}`, { signal }));
  if (live.started_ms !== known.started) {
    await meet(live, signal);
    if (next > 0) live = await read(await fetch('/page/live', { signal }));
  }
  learn(live);
  for (const part of parts) part.show(live, known);
}

const LINKS = {
  connecting: 'Connecting',
  live: 'Live',
  lost: 'Not connected',
  trouble: 'In trouble',
};

function link(state, trouble = '') {
  const pill = byId('link');
  pill.dataset.state = state;
  say(pill.lastElementChild, LINKS[state]);
  document.body.classList.toggle('stale', state === 'lost' || state === 'trouble');
  const sentence = byId('trouble');
  sentence.hidden = !trouble;
  say(sentence, trouble);
}

/** A sentence for the reader about an answer that did not come, or was not a good one. */
function trouble(error) {
  const since = known.heard ? ` What you see is from ${clock(known.heard)}.` : '';
  if (error.answered) return ['trouble', `local answers, but says: ${error.message}. Trying again.${since}`];
  if (error instanceof TypeError || error.name === 'TimeoutError' || error.name === 'AbortError') {
    return ['lost', `The pipeline does not answer; it may have been stopped. This page goes on by itself when it is back.${since}`];
  }
  console.error(error);
  return ['trouble', `This page has a mistake in it: ${error.message}.${since}`];
}

/** Waits, but not after the page is shown or hidden. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    document.addEventListener('visibilitychange', done);
  });
}

async function forever() {
  for (;;) {
    let wait = EVERY_MS;
    if (!document.hidden) {
      try {
        await ask();
        link('live');
      } catch (error) {
        link(...trouble(error));
        for (const part of parts) part.lose?.();
        wait = AGAIN_MS;
      }
    }
    await pause(wait);
  }
}

forever();
