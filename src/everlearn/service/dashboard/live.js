// What happens in the service, as it happens (server-sent events, read by fetch: so that what was told before
// the page was opened comes, too).

const KEPT = 300;
const PAUSE_SECONDS = 3;

const kept = [];
const listeners = new Set();
let controller = null;
let state = "off"; // "off", "connecting", "live"

export const events = () => kept;
export const liveState = () => state;

// Returns what ends the listening.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function tell(event) {
  for (const listener of listeners) listener(event);
}

function become(now) {
  if (state === now) return;
  state = now;
  tell(null);
}

export function start() {
  stop();
  controller = new AbortController();
  follow(controller.signal);
}

export function stop() {
  controller?.abort();
  controller = null;
  become("off");
}

async function follow(signal) {
  while (!signal.aborted) {
    become("connecting");
    try {
      const answer = await fetch("/v1/events", {
        headers: { "Last-Event-ID": "0" },
        signal,
        cache: "no-store",
      });
      if (answer.status === 401 || answer.status === 403) break;
      if (answer.ok) await read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof TypeError)) throw error; // that is how fetch says that the connection is gone
    }
    become("connecting");
    await new Promise((resolve) => {
      setTimeout(resolve, PAUSE_SECONDS * 1000);
    });
  }
  become("off");
}

async function read(reader) {
  become("live");
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) take(block);
  }
}

function take(block) {
  const data = block.split("\n").filter((line) => line.startsWith("data:"));
  if (!data.length) return;
  const event = JSON.parse(data.map((line) => line.slice(5)).join("\n"));
  // Each time it tells from the beginning: one that was started anew counts from 1 again.
  if (kept.some((one) => one.id === event.id && one.time === event.time)) return;
  kept.push(event);
  if (kept.length > KEPT) kept.shift();
  tell(event);
}
