// Sends events as an app would, in Node or, with --cors-origin, in a browser: ids of its own, so that a lost
// answer is no duplicate, and what is not accepted yet once more.
//
//     EVENTS_URL=http://127.0.0.1:8080 EVENTS_CREDENTIAL=KEY:SECRET node docs/examples/send.mjs

const TRIES = 6;
const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));

async function post(url, credential, events) {
  const answer = await fetch(`${url}/v1/events`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Basic ${btoa(credential)}` },
    body: JSON.stringify(events),
    signal: AbortSignal.timeout(20_000),
  });
  const worthAnotherTry = [408, 422, 429, 503].includes(answer.status);
  if (!answer.ok && !worthAnotherTry) throw new Refused(`${answer.status}: ${await answer.text()}`);
  const { results } = await answer.json();
  return {
    results: results ?? events.map(() => ({ status: "retry" })),
    wait: Number(answer.headers.get("retry-after") ?? 1),
  };
}

class Refused extends Error {}

/** Until each is accepted or rejected; gives those that are rejected, with the reason. */
export async function send(url, credential, events) {
  let left = events.map((event) => ({ eventid: crypto.randomUUID(), ...event }));
  const rejected = [];
  for (let attempt = 0; attempt < TRIES; attempt++) {
    let answer;
    try {
      answer = await post(url, credential, left);
    } catch (error) {
      if (error instanceof Refused) throw error;
      answer = { results: left.map(() => ({ status: "retry" })), wait: 2 ** attempt };
    }
    const ended = (status) => left.filter((_, index) => answer.results[index].status === status);
    const reasons = answer.results.filter((result) => result.status === "rejected");
    ended("rejected").forEach((event, index) => rejected.push({ event, reason: reasons[index] }));
    left = ended("retry");
    if (left.length === 0) return rejected;
    await pause(answer.wait);
  }
  throw new Error(`${left.length} events were not accepted in ${TRIES} tries`);
}

const rejected = await send(process.env.EVENTS_URL, process.env.EVENTS_CREDENTIAL, [
  { eventtype: "play", deviceid: "node-1", action: "stop", musicsource: "tidal", secondslistened: 187.4 },
  { eventtype: "play", deviceid: "node-1", action: "stop", musicsource: "tidal", secondslistened: "long" },
]);
for (const { reason } of rejected) console.log("rejected:", reason.code, JSON.stringify(reason.errors));
process.exitCode = rejected.length === 1 ? 0 : 1;
