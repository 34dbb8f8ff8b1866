// A file that is learned, in a list: how far it has come, what became of its lines, and stopping it.

import { remove } from "../api.js";
import { confirmed } from "../dialog.js";
import { button, h, link, newId, replace, table } from "../dom.js";
import * as format from "../format.js";
import { attempt, done } from "../notices.js";

const STATES = {
  waiting: ["Waiting", ""],
  running: ["Being learned", ""],
  done: ["Done", "good"],
  failed: ["Failed", "bad"],
  stopped: ["Stopped", "warn"],
};
const BECAME = {
  learned: "learned",
  waiting: "waiting for their turn",
  unlabelled: "without a label",
  exam: "kept for exams",
  held: "held for review",
  thinned: "thinned",
  unlearnable: "that cannot be learned",
  corrected: "known before, with another label now",
  known: "known before",
  set_aside: "known before, set aside and not learned",
};
const ROLES = new Set(["exam", "held", "thinned", "unlearnable"]);
const KNOWN_BEFORE = new Set(["corrected", "known", "set_aside"]);

// The service keeps no names of files; those that were uploaded from this page are remembered here.
const names = new Map();

export const nameFile = (id, name) => names.set(id, name);
export const isOver = (job) => !["waiting", "running"].includes(job.state);

// Gives {element, update}: what has the focus stays where it is while the numbers change.
export function jobItem(first, may, refresh) {
  const titleId = newId("job");
  const title = h("h3", { id: titleId, tabindex: "-1" });
  const chip = h("span", { class: "chip" });
  const bar = h("progress", { "aria-labelledby": titleId });
  const count = h("span", { class: "hint" });
  const stop = button("Stop …", (event) => stopped(first, event.currentTarget, refresh), { kind: "small" });
  const running = h("div", { class: "row running" }, bar, count, stop);
  const error = h("p", { class: "callout" });
  const result = h("div", { class: "result" });
  const element = h(
    "li",
    { class: "job" },
    h("div", { class: "job-head" }, title, chip),
    h("p", { class: "hint" }, `Uploaded ${format.time(first.time * 1000)} by ${first.by} · ${first.id}`),
    running,
    error,
    result,
  );
  let shown = null;

  const update = (job) => {
    const [state, kind] = STATES[job.state] ?? [job.state, ""];
    const text = JSON.stringify(job);
    if (text === shown) return;
    const wasRunning = shown !== null && !running.hidden;
    shown = text;
    title.textContent = names.get(job.id) ?? `File of ${format.counted(job.lines, "line")}`;
    stop.setAttribute("aria-label", `Stop ${title.textContent} …`);
    chip.textContent = state;
    chip.className = `chip ${kind}`;
    bar.max = Math.max(1, job.lines);
    bar.value = job.taken;
    count.textContent = `${format.whole(job.taken)} of ${format.counted(job.lines, "line")}`;
    error.hidden = job.error === null;
    error.textContent = job.error === null ? "" : `${isOver(job) ? "" : "It waits: "}${job.error}`;
    if (isOver(job) && running.contains(document.activeElement)) title.focus();
    running.hidden = isOver(job);
    if (!result.contains(document.activeElement)) replace(result, outcome(job, may));
    if (wasRunning && isOver(job)) done(`${title.textContent}: ${state.toLowerCase()}. ${inShort(job)}`);
  };
  update(first);
  return { element, update };
}

function inShort(job) {
  const refused = job.num_rejected ? ` ${format.counted(job.num_rejected, "line")} refused.` : "";
  return `${format.counted(job.learned, "example")} learned.${refused}`;
}

function outcome(job, may) {
  const became = Object.entries(job.statuses).filter(([, number]) => number);
  const isNothing = isOver(job) && !became.length && job.num_rejected > 0;
  return [
    isNothing ? h("p", { class: "callout" }, "Nothing was learned: every line was refused.") : null,
    became.length
      ? h(
          "ul",
          { class: "became", "aria-label": "What became of its examples" },
          became.map(([status, number]) => h("li", {}, counts(job, status, number, may))),
        )
      : null,
    job.num_rejected ? refused(job, may) : null,
  ];
}

// What came with the job lies between two offsets of the journal; what was known before lies elsewhere.
function counts(job, status, number, may) {
  const text = [h("strong", {}, format.whole(number)), ` ${BECAME[status] ?? status}`];
  if (!may("operate") || job.first_offset === null || KNOWN_BEFORE.has(status)) return h("span", {}, text);
  const role = ROLES.has(status) ? status : null;
  return link("examples", { first: job.first_offset, last: job.last_offset, newest: false, role }, text);
}

function refused(job, may) {
  const hasIds = may("operate") && job.rejected.some((one) => one.id !== null);
  const told = job.rejected.length;
  return h(
    "details",
    { open: isOver(job) },
    h(
      "summary",
      {},
      `${format.counted(job.num_rejected, "line")} refused${told < job.num_rejected ? `, the first ${format.whole(told)}` : ""}`,
    ),
    table(
      "Refused lines",
      [["Line", "number"], ["Why"], ...(hasIds ? [["Known example"]] : [])],
      job.rejected.map((one) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", class: "number" }, format.whole(one.line)),
          h("td", { class: "why" }, one.reason),
          hasIds ? h("td", {}, one.id === null ? "–" : link("examples", { id: one.id }, one.id)) : null,
        ),
      ),
    ),
  );
}

async function stopped(job, source, refresh) {
  const isSure = await confirmed(
    "Stop learning this file?",
    ["What was learned of it stays. The rest of its lines are not learned."],
    "Stop it",
    { isDangerous: true },
  );
  if (!isSure.yes) return;
  await attempt(async () => {
    await remove(`/v1/jobs/${encodeURIComponent(job.id)}`);
    await refresh();
  }, source);
}
