// Is it getting better, and what arrives: the run's history as charts.

import { lineChart, stackedChart } from "../chart.js";
import { card, h, link, table } from "../dom.js";
import * as format from "../format.js";

const LABELS_SHOWN = 6;
const INTERVALS = 30;
const LOOKED_BACK = 4; // the change of the last quarter is told
const OTHER = "other"; // the API's name of all labels but the most frequent

export function better(history, versions) {
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
export function arrivals(history, seesExamples) {
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
