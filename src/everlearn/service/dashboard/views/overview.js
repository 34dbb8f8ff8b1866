// At one look: is it well, is it getting better, what needs somebody?

import { get, getText, look } from "../api.js";
import { h, link, replace } from "../dom.js";
import { figures } from "../figures.js";
import * as format from "../format.js";
import * as live from "../live.js";
import { problemParts } from "../notices.js";
import { attention, reviewCounts } from "./attention.js";
import { health } from "./health.js";
import { arrivals, better } from "./progress.js";

const SECONDS_OF_HEALTH = 5;
const SECONDS_BETWEEN = 3;

export function show({ title, may, tenant, whenLeft }) {
  const part = (name) => h("div", { class: `part part-${name}`, "aria-busy": "true" });
  const places = {
    figures: part("figures"),
    needs: part("needs"),
    well: part("well"),
    chart: part("chart"),
    labels: part("labels"),
  };
  const throughput = { samples: [] };

  let shown = null; // the history of before, until that of now is there

  // Each part is filled as soon as what it shows is there: of a long run, the history takes longest.
  const lasting = () => {
    const stats = look("/v1/stats");
    const history = look("/v1/history", { points: 200 });
    const versions = look("/v1/versions");
    const queue = may("label") ? reviewCounts() : null;
    const known = (past) => async () =>
      keyFigures(...(await Promise.all([stats, past, versions, queue])), may);
    const before = shown;
    shown = history;
    return Promise.all([
      draw(places.figures, known(before)).then(() => draw(places.figures, known(history))),
      draw(places.needs, async () => attention(...(await Promise.all([versions, queue])))),
      draw(places.chart, async () => better(...(await Promise.all([history, versions])))),
      draw(places.labels, async () => arrivals(await history, may("operate"))),
    ]);
  };
  const passing = () =>
    draw(places.well, async () => {
      const [about, measured] = may("operate")
        ? await Promise.all([get("/v1/service"), getText("/metrics").then(figures)])
        : [null, null];
      const readiness = await get("/readyz").catch((problem) => problem);
      return health({ about, measured, readiness, throughput, tenant });
    });

  title.append(h("span", { class: "of" }, ` ${tenant}`));
  lasting();
  passing();
  repeat(passing, SECONDS_OF_HEALTH, whenLeft);
  afterEvents(lasting, tenant, whenLeft);
  return h(
    "div",
    { class: "overview" },
    places.figures,
    h("div", { class: "column column-side" }, places.needs, places.well),
    h("div", { class: "column column-main" }, places.chart, places.labels),
  );
}

// New content, or what went wrong; but never from under the focus.
async function draw(place, work) {
  let content;
  try {
    content = await work();
  } catch (problem) {
    content = h("div", { class: "notice bad inline" }, problemParts(problem));
  }
  if (!place.contains(document.activeElement)) replace(place, content);
  place.setAttribute("aria-busy", "false");
}

function repeat(work, seconds, whenLeft) {
  const timer = setInterval(() => document.hidden || work(), seconds * 1000);
  whenLeft(() => clearInterval(timer));
}

// Events may come many a second: what they change is asked for once in a while.
function afterEvents(work, tenant, whenLeft) {
  let timer = null;
  const end = live.listen((event) => {
    if (event === null || (event.tenant !== null && event.tenant !== tenant) || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      work();
    }, SECONDS_BETWEEN * 1000);
  });
  whenLeft(() => {
    end();
    clearTimeout(timer);
  });
}

function keyFigures(stats, history, versions, queue, may) {
  const last = history?.points.findLast((one) => one.rolling_accuracy !== null);
  const served = versions.serving;
  const figure = (name, value, more, target) =>
    h(
      "div",
      { class: "figure" },
      h("dt", {}, name),
      h("dd", {}, target === null ? value : link(...target, value), h("span", { class: "more" }, more)),
    );
  const seesExamples = may("operate");
  // What came before the first label was known was predicted nothing, and counts as wrong; while the newest
  // examples reach back to it, their share says little.
  const once = stats.prequential_accuracy_once_learning ?? null;
  const leavesOut = once !== null && stats.predicted_unlearned > 0;
  const all = `${format.share(stats.prequential_accuracy)} of all so far`;
  return h(
    "dl",
    { class: "figures" },
    figure(
      "Rolling accuracy",
      format.share(last?.rolling_accuracy),
      leavesOut ? `${all}, with the ${format.counted(stats.predicted_unlearned, "example")} before it knew a label` : all,
      seesExamples ? ["examples", { wrong: "true" }] : null,
    ),
    leavesOut
      ? figure("Accuracy once learning", format.share(once), "of all that came when it knew a label", null)
      : null,
    figure(
      "Examples learned",
      format.whole(stats.held),
      `${format.whole(stats.examples)} came`,
      seesExamples ? ["examples", {}] : null,
    ),
    figure(
      "Labels",
      format.whole(stats.labels),
      stats.forgotten ? `${format.whole(stats.forgotten)} examples deleted` : "known",
      ["labels", {}],
    ),
    figure(
      "Served",
      served === null ? "Newest state" : `Version ${format.whole(served)}`,
      `of ${format.counted(versions.versions.length, "version")}`,
      ["versions", {}],
    ),
    queue === null
      ? null
      : figure("To review", queue.text, queue.total ? "waiting for a person" : "nothing waits", [
          "review",
          {},
        ]),
  );
}
