// What happens, live.

import { card, h, link, replace } from "../dom.js";
import * as format from "../format.js";
import * as live from "../live.js";

const by = (event) => (event.by ? ` by ${event.by}` : "");
const SENTENCES = {
  learned: (one) =>
    `Step ${format.whole(one.step)}: ${format.counted(one.examples, "example")} learned, ${format.whole(one.right)} predicted right${one.version ? `; version ${one.version} was accepted` : ""}`,
  corrected: (one) => `${format.counted(one.examples, "example")} corrected${by(one)}`,
  forgotten: (one) => `${format.counted(one.examples, "example")} deleted${by(one)}`,
  "rolled-back": (one) =>
    one.version ? `Rolled back to version ${one.version}${by(one)}` : `The newest is served again${by(one)}`,
  reviewed: (one) => `The review queue was decided on${by(one)}`,
  "label-renamed": (one) =>
    `${one.label} is called ${one.name} now: ${format.counted(one.examples, "example")}${by(one)}`,
  "job-progress": (one) => `A file: ${format.whole(one.taken)} of ${format.counted(one.lines, "line")} dealt with`,
  "job-done": (one) =>
    `A file is ${one.state}: ${format.counted(one.learned, "example")} learned${one.num_rejected ? `, ${format.counted(one.num_rejected, "line")} refused` : ""}${one.error ? `; ${one.error}` : ""}`,
  "quota-set": (one) =>
    `Quota: ${one.max_examples === null ? "no bound" : format.counted(one.max_examples, "example")}${by(one)}`,
  "tenant-added": () => "A tenant was added",
  "tenant-removed": () => "A tenant was removed",
  "process-lost": (one) => `A process ended by itself (${one.process}); it is started again`,
  state: (one) =>
    `At rest after step ${format.whole(one.step)}, fingerprint ${format.shortHash(one.fingerprint)}`,
};
const KNOWN = new Set(["id", "kind", "tenant", "time"]);
const STATES = { live: "Live", connecting: "Connecting …", off: "Not connected" };

export function show({ whenLeft }) {
  const list = h("ol", { class: "events", reversed: true });
  const state = h("p", { class: "live", role: "status" });
  const empty = h("p", { class: "note" }, "Nothing has happened since the service was started.");
  const tellState = () => {
    state.textContent = STATES[live.liveState()];
    state.dataset.state = live.liveState();
    empty.hidden = list.children.length > 0;
  };
  replace(list, [...live.events()].reverse().map(row));
  tellState();
  const end = live.listen((event) => {
    if (event !== null) list.prepend(row(event));
    tellState();
  });
  whenLeft(end);
  return card("Events", { aside: state }, empty, list);
}

function told(event) {
  if (event.kind in SENTENCES) return SENTENCES[event.kind](event);
  const rest = Object.entries(event).filter(([name, value]) => !KNOWN.has(name) && value !== null);
  return `${event.kind}${rest.length ? `: ${rest.map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ")}` : ""}`;
}

function row(event) {
  const to =
    event.kind === "learned" || event.kind === "corrected"
      ? link("examples", {}, "Examples")
      : event.kind === "rolled-back"
        ? link("versions", {}, "Versions")
        : event.kind.startsWith("job-")
          ? link("files", {}, "Files")
          : null;
  return h(
    "li",
    { class: `event event-${event.kind}` },
    h("time", { datetime: new Date(event.time * 1000).toISOString() }, format.clock(event.time * 1000)),
    h("span", {}, told(event)),
    event.tenant === null ? null : h("span", { class: "hint" }, event.tenant),
    to,
  );
}
