// The review queue: what a person should look at, each decided by one click.

import { look, post, tell } from "../api.js";
import { button, h, link } from "../dom.js";
import * as format from "../format.js";
import { asTarget, isSetTarget, refresh } from "../known_labels.js";
import { labelInput } from "../label_input.js";
import { longText } from "../long_text.js";
import { attempt, done } from "../notices.js";
import { became } from "./became.js";
import { KINDS, reviewCounts } from "./attention.js";

const SHOWN = 50;

export async function show({ query, title, may }) {
  const kind = KINDS.find((one) => one.kind === query.get("kind"))?.kind ?? null;
  attempt(refresh);
  const { items } = await look("/v1/review", { kind, limit: SHOWN });
  const list = h(
    "ul",
    { class: "queue" },
    items.map((item) => shown(item, may, () => onDecided(list, title))),
  );
  return [
    choices(kind),
    items.length ? list : empty(),
    items.length === SHOWN
      ? h("p", { class: "hint" }, `The first ${format.whole(SHOWN)}; more come when these are decided.`)
      : null,
  ];
}

function choices(chosen) {
  const choice = (kind, text, why) => {
    const one = link("review", { kind }, text);
    one.title = why;
    if (kind === chosen) one.setAttribute("aria-current", "true");
    return h("li", {}, one);
  };
  return h(
    "nav",
    { "aria-label": "Kinds", class: "choices" },
    h(
      "ul",
      {},
      choice(null, "All", "Everything that waits"),
      KINDS.map((one) => choice(one.kind, one.title, one.why)),
    ),
  );
}

function empty() {
  return h("p", { class: "note" }, "Nothing to review.");
}

// Decided ones go, and the focus goes on to the next.
function onDecided(list, title) {
  const next = [...list.children].find((one) => !one.classList.contains("gone"));
  if (next === undefined) {
    list.replaceWith(empty());
    title.focus();
  } else next.focus();
}

function shown(item, may, decided) {
  const kind = KINDS.find((one) => one.kind === item.kind);
  const isSet = isSetTarget(item.target ?? item.predicted);
  const place = h(
    "li",
    {
      class: "card item",
      tabindex: "-1",
      "aria-label": `${kind.title}: ${(item.text ?? item.id).slice(0, 80)}`,
    },
    h(
      "p",
      { class: "item-kind" },
      h("span", { class: `chip ${item.kind}`, title: kind.why }, kind.title),
      h("span", { class: "hint" }, reason(item)),
    ),
    longText(item.text ?? "The text is not kept."),
    says(item),
  );
  const finish = (text) => {
    done(text);
    attempt(reviewCounts);
    const gone = place.nextElementSibling;
    place.classList.add("gone");
    place.remove();
    if (gone !== null) gone.focus();
    else decided();
  };
  const act = async (work, text, source) => {
    const told = await attempt(work, source);
    if (told !== undefined) finish(text(told));
  };
  place.append(
    item.kind === "suspicious" ? ofExample(item, isSet, act, may) : ofPrediction(item, isSet, act),
  );
  return place;
}

function reason(item) {
  if (item.kind === "suspicious")
    return `${item.reason === "contradiction" ? "contradicts a prediction" : (item.reason ?? "")} of ${format.share(item.score)}`;
  if (item.kind === "unfamiliar") return `outlier score ${format.number(item.score)}`;
  return item.score === null ? "" : `${format.share(item.score)} sure`;
}

function says(item) {
  const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, format.target(value)));
  return item.kind === "wrong" ? h("dl", { class: "pairs" }, pair("Predicted", item.predicted)) : null;
}

function otherLabel(isSet, learn) {
  const send = (event) => {
    event?.preventDefault();
    if (other.input.value.trim()) learn(asTarget(other.input.value, isSet), submit);
  };
  const other = labelInput("Another label", { onchosen: () => isSet || send() });
  const submit = button("Label", null, { type: "submit" });
  return h("form", { class: "row", onsubmit: send }, other.element, submit);
}

const notDone = (title, reason) => Object.assign(new Error(reason), { title, detail: reason });

const rejected = (told) =>
  told.still_learned.length
    ? "Settled. The example is still learned: delete it under Examples to take it out."
    : "Rejected: it stays out of what is learned.";

const shownTarget = (target) => (Array.isArray(target) ? target.join(", ") : format.target(target));

// An example that was learned, or waits for a decision: its label is right, or another is.
function ofExample(item, isSet, act, may) {
  const correct = (target, source) =>
    act(
      async () => {
        const told = await tell("/v1/correct", { targets: { [item.id]: target } });
        const [one] = told.results;
        if (["rejected", "set_aside"].includes(one.status)) throw notDone("It was not corrected", one.reason);
        await tell("/v1/review", { accept: [item.id] }).catch((problem) => {
          if (problem.code !== "run-refuses") throw problem; // the correction has settled the flag already
        });
        return told;
      },
      () => `Corrected to ${shownTarget(target)}.`,
      source,
    );
  const decide = (body, text, source) =>
    act(
      () => tell("/v1/review", body),
      () => text,
      source,
    );
  return h(
    "div",
    { class: "row actions" },
    button(
      `Keep ${format.target(item.target)}`,
      (event) => decide({ accept: [item.id] }, "Kept: the label is right.", event.currentTarget),
      { kind: "good" },
    ),
    item.predicted === null
      ? null
      : button(`Change to ${format.target(item.predicted)}`, (event) =>
          correct(isSet ? JSON.parse(item.predicted) : item.predicted, event.currentTarget),
        ),
    otherLabel(isSet, correct),
    button(
      "Reject",
      (event) => act(() => tell("/v1/review", { reject: [item.id] }), rejected, event.currentTarget),
      { kind: "quiet" },
    ),
    may("operate") ? link("examples", { id: item.id }, "Details") : null,
  );
}

// A prediction: it is right, another label is, or it needs none.
function ofPrediction(item, isSet, act) {
  const learn = (target, source) =>
    act(
      async () => {
        const told = await post("/v1/feedback", { id: item.id, target });
        if (["rejected", "set_aside"].includes(told.status)) throw notDone("It was not learned", told.reason);
        return told;
      },
      (told) => became(told, `as ${shownTarget(target)}`),
      source,
    );
  return h(
    "div",
    { class: "row actions" },
    item.predicted === null || item.kind === "wrong"
      ? null
      : button(
          `Right: ${format.target(item.predicted)}`,
          (event) => learn(isSet ? JSON.parse(item.predicted) : item.predicted, event.currentTarget),
          { kind: "good" },
        ),
    otherLabel(isSet, learn),
    button(
      "Dismiss",
      (event) =>
        act(
          () => tell("/v1/review", { dismiss: [item.id] }),
          () => "Dismissed.",
          event.currentTarget,
        ),
      { kind: "quiet" },
    ),
  );
}
