// Is it well: readiness, processes, what waits, memory, and how much it does.

import { bar, sparkline } from "../chart.js";
import { card, h } from "../dom.js";
import { total } from "../figures.js";
import * as format from "../format.js";

const SAMPLES = 60;

export function health({ about, measured, readiness, throughput, tenant }) {
  const isReady = readiness.status === "ready";
  const state = isReady
    ? h(
        "p",
        { class: "state good" },
        h("span", { class: "sign", "aria-hidden": "true" }, "✓"),
        "Ready to predict and to learn",
      )
    : h(
        "p",
        { class: "state bad" },
        h("span", { class: "sign", "aria-hidden": "true" }, "!"),
        `${readiness.title ?? "Not ready"}: ${readiness.remedy ?? ""}`,
      );
  if (about === null) return card("Is it well?", {}, state);
  const workers = Object.keys(about.processes).filter((name) => name.startsWith("worker")).length;
  const row = (name, value, isWell = true) =>
    h("div", { class: isWell ? "" : "unwell" }, h("dt", {}, name), h("dd", {}, value));
  const waiting = about.waiting_texts + about.waiting_labels;
  return card(
    "Is it well?",
    {},
    state,
    h(
      "dl",
      { class: "rows" },
      row(
        "Prediction processes",
        `${format.whole(about.workers_ready)} of ${format.whole(workers)} ready`,
        about.workers_ready >= workers,
      ),
      row("Learning process", about.learner_ready ? "ready" : "starting again", about.learner_ready),
      row(
        "Waiting",
        waiting
          ? `${format.counted(about.waiting_texts, "text")}, ${format.counted(about.waiting_labels, "label")}`
          : "nothing",
      ),
      row("Processes lost", format.whole(total(measured, "everlearn_processes_lost_total"))),
    ),
    ...rates(measured, throughput, tenant),
    ...memory(measured),
    h("p", { class: "hint" }, `everlearn ${about.everlearn}`),
  );
}

function rates(measured, throughput, tenant) {
  const now = performance.now() / 1000;
  const sample = {
    at: now,
    predictions: total(measured, "everlearn_predictions_total", { tenant }),
    labels: total(measured, "everlearn_examples_total", { tenant }),
  };
  // A service that was started anew counts from 0 again.
  if (throughput.samples.some((one) => one.predictions > sample.predictions || one.labels > sample.labels))
    throughput.samples = [];
  throughput.samples = [...throughput.samples, sample].slice(-SAMPLES);
  const all = throughput.samples;
  const perMinute = (name) =>
    all.slice(1).map((one, k) => ((one[name] - all[k][name]) / (one.at - all[k].at)) * 60);
  const shown = [
    ["Predictions", "predictions"],
    ["Examples", "labels"],
  ];
  return [
    h("h3", {}, "Each minute"),
    h(
      "div",
      { class: "rates" },
      shown.map(([title, name]) => {
        const values = perMinute(name);
        return h(
          "div",
          { class: "rate" },
          h("span", {}, title),
          h("strong", {}, format.whole(values.at(-1) ?? 0)),
          sparkline(values),
        );
      }),
    ),
  ];
}

function memory(measured) {
  const processes = measured
    .filter((one) => one.name === "everlearn_memory_bytes")
    .map(({ labels, value }) => [labels.process, value]);
  const most = Math.max(...processes.map(([, value]) => value), 1);
  return [
    h("h3", {}, "Memory"),
    h(
      "dl",
      { class: "rows bars" },
      processes.map(([name, value]) =>
        h(
          "div",
          {},
          h("dt", {}, name.replace("-", " ")),
          h("dd", {}, bar(value / most), h("span", {}, format.bytes(value))),
        ),
      ),
    ),
  ];
}
