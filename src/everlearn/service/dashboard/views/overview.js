// At one look: is it well, is it getting better, what needs somebody?

import { get, getText, look } from "../api.js";
import { lineChart, stackedChart } from "../chart.js";
import { card, h, link, replace, table } from "../dom.js";
import { figures } from "../figures.js";
import * as format from "../format.js";
import * as live from "../live.js";
import { problemParts } from "../notices.js";
import { attention, reviewCounts } from "./attention.js";
import { health } from "./health.js";

const SECONDS_OF_HEALTH = 5;
const SECONDS_BETWEEN = 2;
const LABELS_SHOWN = 6;
const INTERVALS = 30;
const LOOKED_BACK = 4; // the change of the last quarter is told
const OTHER = "other"; // the API's name of all labels but the most frequent

export async function show({ title, may, tenant, whenLeft }) {
  const part = (name) => h("div", { class: `part part-${name}` });
  const places = {
    figures: part("figures"),
    needs: part("needs"),
    well: part("well"),
    chart: part("chart"),
    labels: part("labels"),
  };
  const throughput = { samples: [] };

  const lasting = async () => {
    const [stats, history, versions, queue] = await Promise.all([
      look("/v1/stats"),
      look("/v1/history", { points: 200 }),
      look("/v1/versions"),
      may("label") ? reviewCounts() : null,
    ]);
    update(places.figures, keyFigures(stats, history, versions, queue, may));
    update(places.chart, better(history, versions));
    update(places.needs, attention(versions, queue));
    update(places.labels, overTime(history, may("operate")));
  };
  const passing = async () => {
    const [about, measured] = may("operate")
      ? await Promise.all([get("/v1/service"), getText("/metrics").then(figures)])
      : [null, null];
    const readiness = await get("/readyz").catch((problem) => problem);
    update(places.well, health({ about, measured, readiness, throughput, tenant }));
  };

  title.append(h("span", { class: "of" }, ` ${tenant}`));
  await Promise.all([lasting(), passing()]);
  repeat(passing, SECONDS_OF_HEALTH, places.well, whenLeft);
  afterEvents(lasting, tenant, places.chart, whenLeft);
  return h(
    "div",
    { class: "overview" },
    places.figures,
    h("div", { class: "column column-side" }, places.needs, places.well),
    h("div", { class: "column column-main" }, places.chart, places.labels),
  );
}

// New content, but never from under the focus.
function update(place, ...content) {
  if (!place.contains(document.activeElement)) replace(place, ...content);
}

function guarded(work, place) {
  return work().catch((problem) =>
    update(place, h("div", { class: "notice bad inline" }, problemParts(problem))),
  );
}

function repeat(work, seconds, place, whenLeft) {
  const timer = setInterval(() => document.hidden || guarded(work, place), seconds * 1000);
  whenLeft(() => clearInterval(timer));
}

// Events may come many a second: what they change is asked for once in a while.
function afterEvents(work, tenant, place, whenLeft) {
  let timer = null;
  const end = live.listen((event) => {
    if (event === null || (event.tenant !== null && event.tenant !== tenant) || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      guarded(work, place);
    }, SECONDS_BETWEEN * 1000);
  });
  whenLeft(() => {
    end();
    clearTimeout(timer);
  });
}

function keyFigures(stats, history, versions, queue, may) {
  const last = history.points.findLast((one) => one.rolling_accuracy !== null);
  const served = versions.serving;
  const figure = (name, value, more, target) =>
    h(
      "div",
      { class: "figure" },
      h("dt", {}, name),
      h("dd", {}, target === null ? value : link(...target, value), h("span", { class: "more" }, more)),
    );
  const seesExamples = may("operate");
  return h(
    "dl",
    { class: "figures" },
    figure(
      "Rolling accuracy",
      format.share(last?.rolling_accuracy),
      `${format.share(stats.prequential_accuracy)} of all so far`,
      seesExamples ? ["examples", { wrong: "true" }] : null,
    ),
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

function better(history, versions) {
  const points = history.points
    .filter((one) => one.rolling_accuracy !== null)
    .map((one) => ({ x: one.examples, y: one.rolling_accuracy, ...one }));
  if (points.length < 2) {
    return card(
      "Is it getting better?",
      {},
      h("p", { class: "note" }, "This needs examples with labels: each is predicted before it is learned."),
    );
  }
  const stepAt = (step) => history.points.find((one) => one.step >= step)?.examples;
  const marks = [
    ...versions.versions
      .filter((one) => one.author === "guard")
      .map((one) => ({ x: stepAt(one.step), text: `v${one.version}`, kind: "accepted" })),
    ...versions.decisions
      .filter((one) => one.verdict === "rejected")
      .map((one) => ({ x: stepAt(one.step), text: "refused", kind: "refused" })),
  ].filter((one) => one.x !== undefined);
  const last = points.at(-1);
  const before = points.at(-1 - Math.ceil(points.length / LOOKED_BACK));
  const change = last.y - before.y;
  return card(
    "Is it getting better?",
    {
      aside: h(
        "p",
        { class: `trend ${change >= 0 ? "up" : "down"}` },
        `${format.points(change)} over the last ${format.counted(last.x - before.x, "example")}`,
      ),
    },
    lineChart({
      label: `Share of the newest examples that were predicted right, from ${format.share(points[0].y)} to ${format.share(last.y)}`,
      points,
      yRange: [0, 1],
      xText: format.compact,
      yText: format.wholeShare,
      textOf: (one) =>
        `${format.share(one.y)} after ${format.whole(one.x)} examples, ${format.time(one.time)}`,
      marks,
    }),
    h(
      "p",
      { class: "axis-name" },
      "Share of the newest examples predicted right before they were learned, by examples so far",
    ),
    asTable(
      "Rolling accuracy",
      [["Time"], ["Step", "number"], ["Examples", "number"], ["Right", "number"]],
      spread(points, 12).map((one) => [
        format.time(one.time),
        format.whole(one.step),
        format.whole(one.x),
        format.share(one.y),
      ]),
    ),
  );
}

// What arrived, by label: neighbouring intervals together, so that the eye can follow.
function overTime(history, seesExamples) {
  const counts = history.label_counts;
  if (counts.length < 2) return null;
  const totals = new Map();
  for (const one of counts)
    for (const [name, count] of Object.entries(one.counts)) totals.set(name, (totals.get(name) ?? 0) + count);
  const names = [...totals.keys()]
    .filter((name) => name !== OTHER)
    .sort((a, b) => totals.get(b) - totals.get(a))
    .slice(0, LABELS_SHOWN);
  const size = Math.ceil(counts.length / INTERVALS);
  const intervals = [];
  for (let k = counts.length; k > 0; k -= size) intervals.unshift(counts.slice(Math.max(0, k - size), k));
  const among = (interval, isMeant) =>
    interval.reduce(
      (all, one) =>
        all + Object.entries(one.counts).reduce((sum, [name, count]) => sum + (isMeant(name) ? count : 0), 0),
      0,
    );
  const series = names.map((name) => ({
    name,
    values: intervals.map((one) => among(one, (each) => each === name)),
  }));
  const others = intervals.map((one) => among(one, (each) => !names.includes(each)));
  if (others.some(Boolean)) series.push({ name: "all others", values: others });
  const xs = intervals.map((one) => Date.parse(one.at(-1).time));
  const span = xs.at(-1) - xs[0];
  const total = (one) => one.values.reduce((all, value) => all + value, 0);
  return card(
    "What arrives",
    { aside: h("p", { class: "hint" }, "Examples by label, over time") },
    stackedChart({
      label: `Examples that arrived, by label, over time; the most frequent are ${names.join(", ")}`,
      xs,
      series,
      xText: (value) => format.axisTime(value, span),
      yText: format.compact,
      textOf: (one) =>
        `${format.time(xs[one.k])}: ${format.counted(
          among(intervals[one.k], () => true),
          "example",
        )}`,
    }),
    h(
      "ul",
      { class: "legend" },
      series.map((one, number) =>
        h(
          "li",
          {},
          h("span", { class: `swatch stack-${number}`, "aria-hidden": "true" }),
          one.name === "all others" || !seesExamples
            ? one.name
            : link("examples", { label: one.name }, one.name),
          h("span", { class: "count" }, format.whole(total(one))),
        ),
      ),
    ),
  );
}

function spread(points, count) {
  const step = Math.max(1, Math.ceil(points.length / count));
  return points.filter((_, k) => (points.length - 1 - k) % step === 0);
}

function asTable(caption, columns, rows) {
  return h(
    "details",
    { class: "as-table" },
    h("summary", {}, "As a table"),
    table(
      caption,
      columns,
      rows.map((cells) =>
        h(
          "tr",
          {},
          cells.map((cell, k) => h("td", { class: columns[k][1] ?? "" }, cell)),
        ),
      ),
    ),
  );
}
