// Try a text: labels, how sure, why; and say what is right, on the spot.

import { look, post, tell } from "../api.js";
import { bar, leaningBar } from "../chart.js";
import { button, card, field, h, link, replace } from "../dom.js";
import * as format from "../format.js";
import { asTarget, refresh } from "../known_labels.js";
import { labelInput } from "../label_input.js";
import { longText } from "../long_text.js";
import { attempt, done, problemParts } from "../notices.js";
import { became } from "./became.js";

const TOP = 5;
const NEAREST = 5;
const WORDS = 8;
const LEAST_WEIGHT = 0.02; // of the heaviest word's; less cannot be seen

export async function show({ query, may }) {
  const input = h("textarea", {
    rows: 4,
    maxlength: 100_000,
    required: true,
    value: query.get("text") ?? "",
  });
  const submit = button("Predict", null, { kind: "primary", type: "submit" });
  const answer = h("div", { class: "answers", "aria-live": "polite" });
  const ask = () => attempt(() => predict(input.value, answer, may), submit);
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        ask();
      },
      onkeydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
      },
    },
    field("Text", input, { hint: "Ctrl+Enter predicts. Nothing is learned until you say what is right." }),
    h("div", { class: "row" }, submit),
  );
  if (input.value) ask();
  return [card("A text", {}, form), answer];
}

async function predict(text, place, may) {
  if (may("label")) attempt(refresh);
  const told = await tell("/v1/predict", { text, top: TOP });
  const said = told.predictions[0];
  const why = h("div", {});
  replace(
    place,
    card(
      "What it says",
      {
        aside: h(
          "p",
          { class: "hint" },
          `${told.version === null ? "newest state" : `version ${told.version}`}, step ${format.whole(told.step)}`,
        ),
      },
      headline(said),
      said.top.length
        ? h(
            "ol",
            { class: "shares" },
            said.top.map((one) =>
              h(
                "li",
                {},
                h("span", { class: "share-name" }, one.label),
                bar(one.probability),
                h("span", { class: "share-value" }, format.share(one.probability)),
              ),
            ),
          )
        : null,
      may("label") && said.id ? correction(said, () => predict(text, place, may)) : null,
    ),
    why,
  );
  if (may("label")) explain(text, why, may);
}

function headline(said) {
  const text = said.labels?.join(", ") ?? said.label ?? said.translation ?? "Nothing was learned yet";
  return [
    h(
      "p",
      { class: "headline" },
      text,
      said.probability === null || said.probability === undefined
        ? null
        : h("span", { class: "sure" }, format.share(said.probability)),
    ),
    said.is_outlier ? h("p", { class: "callout" }, "This text is unlike everything that was learned.") : null,
  ];
}

function correction(said, again) {
  const isSet = Array.isArray(said.labels);
  const say = async (body, text, source) => {
    const told = await attempt(() => post("/v1/feedback", { id: said.id, ...body }), source);
    if (told === undefined) return;
    done(became(told, text));
    await attempt(again);
    document
      .querySelector(".headline")
      ?.closest("section")
      .querySelector("h2")
      .scrollIntoView({ block: "nearest" });
  };
  const correct = (event) => {
    event?.preventDefault();
    if (other.input.value.trim())
      say({ target: asTarget(other.input.value, isSet) }, `as ${other.input.value.trim()}`, submit);
  };
  const other = labelInput("The right label", { onchosen: () => isSet || correct() });
  const submit = button("Learn this label", null, { type: "submit" });
  const isKnown = (said.labels ?? said.label ?? said.translation ?? null) !== null;
  return h(
    "div",
    { class: "row correction" },
    isKnown
      ? button("That is right", (event) => say({ right: true }, "as it was predicted", event.currentTarget), {
          kind: "good",
        })
      : null,
    h("form", { class: "row", onsubmit: correct }, other.element, submit),
  );
}

async function explain(text, place, may) {
  let told;
  replace(place, card("Why", {}, h("p", { class: "note" }, "Looking for what is alike …")));
  try {
    told = await tell("/v1/explain", { text, nearest: NEAREST });
  } catch (problem) {
    replace(place, card("Why", {}, h("div", { class: "notice inline" }, problemParts(problem))));
    return;
  }
  const most = Math.max(...told.words.map((one) => Math.abs(one.weight)), 1e-9);
  const words = told.words.filter((one) => Math.abs(one.weight) >= LEAST_WEIGHT * most).slice(0, WORDS);
  replace(
    place,
    card(
      "Why",
      {},
      h("h3", {}, "The nearest examples that were learned"),
      told.nearest.some((one) => one.text === null)
        ? h(
            "p",
            { class: "note" },
            "Texts that are not shown were not kept. A run keeps those that come after ",
            h("code", {}, "everlearn learn --keep-text"),
            ".",
          )
        : null,
      told.nearest.length
        ? h(
            "ul",
            { class: "nearest" },
            told.nearest.map((one) =>
              h(
                "li",
                {},
                one.text === null ? null : longText(one.text),
                h(
                  "p",
                  { class: "hint" },
                  h("span", { class: "chip" }, format.target(one.target)),
                  `${format.share(one.similarity)} alike, `,
                  may("operate") ? link("examples", { id: one.id }, one.id) : one.id,
                ),
              ),
            ),
          )
        : h("p", { class: "note" }, "None are known."),
      h("h3", {}, "Telling words"),
      words.length
        ? h(
            "ul",
            { class: "words" },
            words.map((one) =>
              h(
                "li",
                {},
                h("span", { class: "word" }, one.word),
                leaningBar(one.weight / most),
                h("span", { class: "unseen" }, one.weight < 0 ? "speaks against it" : "speaks for it"),
              ),
            ),
          )
        : h("p", { class: "note" }, "No word stands out."),
    ),
  );
}
