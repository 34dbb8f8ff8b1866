// What was decided on candidates, with the numbers that it rests on; what was set aside can be learned after all.

import { tell } from "../api.js";
import { button, card, h, table } from "../dom.js";
import { confirmed } from "../dialog.js";
import * as format from "../format.js";
import { attempt, done } from "../notices.js";

const SHOWN = 20;
const EXAMS = [
  ["recent", "Recent exam"],
  ["long_term", "Long-term exam"],
  ["own", "Held back of its own interval"],
];

export function examTable(numbers) {
  const exams = EXAMS.filter(([name]) => typeof numbers[name]?.candidate_accuracy === "number");
  const surprise = numbers.surprise;
  const measured = (one) => [
    format.share(one.live_accuracy),
    format.share(one.candidate_accuracy),
    format.points(one.candidate_accuracy - one.live_accuracy),
    format.whole(one.examples),
    format.number(one.p_value),
  ];
  return [
    exams.length
      ? table(
          "Exams of the candidate",
          [
            ["Exam"],
            ["Served", "number"],
            ["Candidate", "number"],
            ["Change", "number"],
            ["Examples", "number"],
            ["p", "number"],
          ],
          exams.map(([name, title]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, title),
              measured(numbers[name]).map((text) => h("td", { class: "number" }, text)),
            ),
          ),
        )
      : null,
    surprise
      ? h(
          "p",
          { class: "hint" },
          `${format.whole(surprise.contradicted)} of ${format.counted(surprise.examples, "example")} contradicted a confident prediction; usual are ${format.share(surprise.usual_rate)}.`,
        )
      : null,
  ];
}

export function decisions(told, may, again) {
  if (!told.decisions.length) return null;
  const newest = [...told.decisions].reverse().slice(0, SHOWN);
  const readmitted = (one) =>
    may("label") &&
    one.verdict === "rejected" &&
    button("Learn it after all", (event) => readmit(one, event.currentTarget, again), {
      kind: "small",
      name: `Learn after all what decision ${one.decision} has set aside`,
    });
  return card(
    "Decisions",
    {
      aside: h(
        "p",
        { class: "hint" },
        told.decisions.length > SHOWN
          ? `the newest ${format.whole(SHOWN)} of ${format.whole(told.decisions.length)}`
          : "",
      ),
    },
    h(
      "ol",
      { class: "decisions", reversed: true },
      newest.map((one) =>
        h(
          "li",
          {},
          h(
            "p",
            {},
            h("span", { class: `chip ${one.verdict === "rejected" ? "bad" : "good"}` }, one.verdict),
            h("span", {}, one.reason),
            h(
              "span",
              { class: "hint" },
              `${format.steps(one.first_step, one.step)}, ${format.time(one.time)}`,
            ),
          ),
          Object.keys(one.numbers).length
            ? h("details", {}, h("summary", {}, "Numbers"), examTable(one.numbers))
            : null,
          readmitted(one) || null,
        ),
      ),
    ),
  );
}

async function readmit(decision, source, again) {
  const isSure = await confirmed(
    "Learn it after all?",
    [
      `All that decision ${decision.decision} has set aside is learned: ${format.steps(decision.first_step, decision.step)}.`,
      "The guard looks at the next candidate as always.",
    ],
    "Learn it",
  );
  if (!isSure.yes) return;
  const outcome = await attempt(() => tell("/v1/review", { readmit: decision.decision }), source);
  if (outcome === undefined) return;
  done(`${format.counted(outcome.learned, "example")} learned after all.`);
  await again();
}
