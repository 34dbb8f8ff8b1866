// Charts as SVG: a line over time, areas on top of each other, a bar, a small line without axes.
// They are drawn at the width that they have, so that text keeps its size.

import { h, replace, s } from "./dom.js";

const HEIGHT = 220;
const EDGE = { top: 12, right: 14, bottom: 26, left: 46 };

function drawn(draw, label) {
  const place = h("div", { class: "chart", role: "img", "aria-label": label });
  let width = 0;
  new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now > 0 && now !== width) {
      width = now;
      replace(place, draw(now));
    }
  }).observe(place);
  return place;
}

function scale(from, to, start, end) {
  const span = to - from || 1;
  return (value) => start + ((value - from) / span) * (end - start);
}

// Round numbers between two, about so many.
export function ticks(from, to, count) {
  const raw = (to - from) / Math.max(1, count);
  if (!(raw > 0)) return [from];
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((k) => k * power).find((one) => one >= raw);
  const found = [];
  for (let value = Math.ceil(from / step) * step; value <= to + step / 1e6; value += step) found.push(value);
  return found;
}

function path(points) {
  return points.map(([x, y], k) => `${k ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
}

function axes({ width, x, y, xRange, yRange, xText, yText }) {
  const right = width - EDGE.right;
  const bottom = HEIGHT - EDGE.bottom;
  return [
    ticks(...yRange, 4).map((value) => [
      s("line", { class: "grid", x1: EDGE.left, x2: right, y1: y(value), y2: y(value) }),
      s("text", { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, yText(value)),
    ]),
    ticks(...xRange, Math.max(2, Math.floor(width / 130))).map((value) =>
      s(
        "text",
        { class: "tick", x: Math.min(x(value), right - 4), y: bottom + 18, "text-anchor": "middle" },
        xText(value),
      ),
    ),
  ];
}

// What is under the pointer, told beside it; whoever has no pointer has the table below the chart.
function readout(svg, width, x, points, textOf) {
  const line = s("line", { class: "cursor", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  const text = s("text", { class: "readout", y: EDGE.top + 2, visibility: "hidden" });
  svg.append(line, text);
  svg.addEventListener("pointermove", (event) => {
    const at = event.clientX - svg.getBoundingClientRect().left;
    const near = points.reduce((best, one) =>
      Math.abs(x(one.x) - at) < Math.abs(x(best.x) - at) ? one : best,
    );
    const place = x(near.x);
    const isRight = place > width / 2;
    line.setAttribute("x1", place);
    line.setAttribute("x2", place);
    text.setAttribute("x", place + (isRight ? -8 : 8));
    text.setAttribute("text-anchor", isRight ? "end" : "start");
    text.textContent = textOf(near);
    for (const one of [line, text]) one.setAttribute("visibility", "visible");
  });
  svg.addEventListener("pointerleave", () => {
    for (const one of [line, text]) one.setAttribute("visibility", "hidden");
  });
}

function markText({ kind, text }, at, width) {
  const isLeft = kind === "refused" || at > width - EDGE.right - 24;
  const y = kind === "refused" ? EDGE.top + 16 : HEIGHT - EDGE.bottom - 5;
  return s(
    "text",
    { class: `mark-text ${kind}`, x: at + (isLeft ? -4 : 4), y, "text-anchor": isLeft ? "end" : "start" },
    text,
  );
}

// points: [{x, y, ...}] in the order of x; marks: [{x, text}].
export function lineChart({ label, points, yRange, xText, yText, textOf, marks = [] }) {
  return drawn((width) => {
    const xRange = [points[0].x, points.at(-1).x];
    const x = scale(...xRange, EDGE.left, width - EDGE.right);
    const y = scale(...yRange, HEIGHT - EDGE.bottom, EDGE.top);
    const line = points.map((one) => [x(one.x), y(one.y)]);
    const floor = HEIGHT - EDGE.bottom;
    const svg = s(
      "svg",
      { width, height: HEIGHT, "aria-hidden": "true" },
      axes({ width, x, y, xRange, yRange, xText, yText }),
      marks
        .filter((one) => one.x >= xRange[0] && one.x <= xRange[1])
        .map((one) => [
          s("line", { class: `mark ${one.kind}`, x1: x(one.x), x2: x(one.x), y1: EDGE.top, y2: floor }),
          markText(one, x(one.x), width),
        ]),
      s("path", { class: "area", d: `${path(line)}L${line.at(-1)[0]} ${floor}L${line[0][0]} ${floor}Z` }),
      s("path", { class: "line", d: path(line) }),
      s("circle", { class: "dot", cx: line.at(-1)[0], cy: line.at(-1)[1], r: 3.5 }),
    );
    readout(svg, width, x, points, textOf);
    return svg;
  }, label);
}

// series: [{name, values}] of one length, first at the bottom; xs: where, in order.
export function stackedChart({ label, xs, series, xText, yText, textOf }) {
  const sums = xs.map((_, k) => series.reduce((sum, one) => sum + one.values[k], 0));
  return drawn((width) => {
    const xRange = [xs[0], xs.at(-1)];
    const yRange = [0, Math.max(1, ...sums)];
    const x = scale(...xRange, EDGE.left, width - EDGE.right);
    const y = scale(...yRange, HEIGHT - EDGE.bottom, EDGE.top);
    const base = xs.map(() => 0);
    const areas = series.map(({ values }, number) => {
      const low = xs.map((at, k) => [x(at), y(base[k])]);
      values.forEach((value, k) => {
        base[k] += value;
      });
      const high = xs.map((at, k) => [x(at), y(base[k])]);
      return s("path", {
        class: `stack stack-${number}`,
        d: `${path(high)}${path(low.reverse()).replace("M", "L")}Z`,
      });
    });
    const svg = s(
      "svg",
      { width, height: HEIGHT, "aria-hidden": "true" },
      areas,
      axes({ width, x, y, xRange, yRange, xText, yText }),
    );
    readout(
      svg,
      width,
      x,
      xs.map((at, k) => ({ x: at, k })),
      textOf,
    );
    return svg;
  }, label);
}

export function bar(value, kind = "") {
  const filled = Math.max(0, Math.min(1, value || 0)) * 100;
  return s(
    "svg",
    { class: `bar ${kind}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { class: "bar-ground", width: 100, height: 6 }),
    s("rect", { class: "bar-value", width: filled, height: 6 }),
  );
}

// From the middle to the left or to the right; of -1 to 1.
export function leaningBar(value) {
  const size = Math.min(1, Math.abs(value)) * 50;
  return s(
    "svg",
    {
      class: `bar ${value < 0 ? "against" : "for"}`,
      viewBox: "0 0 100 6",
      preserveAspectRatio: "none",
      "aria-hidden": "true",
    },
    s("rect", { class: "bar-ground", width: 100, height: 6 }),
    s("rect", { class: "bar-value", x: value < 0 ? 50 - size : 50, width: size, height: 6 }),
  );
}

export function sparkline(values) {
  const most = Math.max(...values, 1e-9);
  const step = 100 / Math.max(1, values.length - 1);
  const points = values.map((value, k) => [k * step, 27 - (value / most) * 24]);
  return s(
    "svg",
    { class: "sparkline", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" },
    points.length > 1
      ? s("path", { class: "line", d: path(points), "vector-effect": "non-scaling-stroke" })
      : null,
  );
}
