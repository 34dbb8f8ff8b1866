// Versions: what is served, why the last candidate was refused, exams, what lies between two, and going back.

import { look, tell } from "../api.js";
import { button, card, field, h, link, table } from "../dom.js";
import { confirmed } from "../dialog.js";
import * as format from "../format.js";
import { attempt, done, filled } from "../notices.js";
import { newestRefusal } from "./attention.js";
import { decisions, examTable } from "./decisions.js";

export async function show({ may }) {
  const place = h("div", { class: "cards" });
  const draw = async () => {
    const told = await look("/v1/versions");
    const again = () => filled(place, draw);
    return [
      served(told, may, again),
      refusal(told),
      all(told, may, again),
      may("operate") ? compare(told) : null,
      decisions(told, may, again),
    ];
  };
  await filled(place, draw);
  return place;
}

function served(told, may, again) {
  const version = told.versions.find((one) => one.version === told.serving);
  const newest = told.versions.at(-1);
  const isBack = version !== undefined && newest !== undefined && version !== newest;
  return card(
    "Served now",
    {},
    h(
      "p",
      { class: "headline" },
      version === undefined ? "The newest state" : `Version ${format.whole(version.version)}`,
    ),
    version === undefined
      ? h(
          "p",
          {},
          "Every label counts at once. With a guard (--guard), only what passes its exams is served.",
        )
      : h(
          "p",
          {},
          `${format.counted(version.learned, "example")} learned up to step ${format.whole(version.step)}, ${format.ago(version.time)}. `,
          h("code", { title: version.fingerprint }, format.shortHash(version.fingerprint)),
        ),
    isBack && may("operate")
      ? h(
          "div",
          { class: "row" },
          button("Serve the newest again", (event) => toNewest(event.currentTarget, again)),
        )
      : null,
  );
}

async function toNewest(source, again) {
  const isSure = await confirmed(
    "Serve the newest again?",
    [
      "Predictions are made by the newest accepted state from then on. Nothing is learned or set aside by this.",
    ],
    "Serve the newest",
  );
  if (!isSure.yes) return;
  const outcome = await attempt(() => tell("/v1/rollback", { version: null }), source);
  if (outcome === undefined) return;
  done("The newest is served again.");
  await again();
}

function refusal(told) {
  const newest = newestRefusal(told);
  if (newest === null) return null;
  const refused = newest.decision;
  return card(
    newest.accepted ? "Why a candidate was refused" : "Why the last candidate was refused",
    { name: "warning", aside: h("p", { class: "hint" }, format.time(refused.time)) },
    h("p", {}, `${refused.reason}.`),
    h(
      "p",
      { class: "hint" },
      `What it had learned in ${format.steps(refused.first_step, refused.step)} is set aside; what was served stayed as it was.${newest.accepted ? ` Since then ${format.counted(newest.accepted, "candidate was", "candidates were")} accepted.` : ""}`,
    ),
    examTable(refused.numbers),
  );
}

function all(told, may, again) {
  const names = [...new Set(told.versions.flatMap((one) => Object.keys(one.scores)))];
  const status = (one) =>
    one.version === told.serving
      ? h("span", { class: "chip good" }, "served")
      : h("span", { class: "chip" }, one.status);
  const rows = [...told.versions].reverse().map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, format.whole(one.version)),
      h("td", {}, status(one)),
      h("td", { class: "time" }, format.time(one.time)),
      h("td", { class: "number" }, format.whole(one.step)),
      h("td", { class: "number" }, format.whole(one.learned)),
      names.map((name) => h("td", { class: "number" }, score(name, one.scores[name]))),
      h("td", { class: "why" }, one.reason),
      may("operate")
        ? h(
            "td",
            { class: "number" },
            one.version !== told.serving && one.status === "kept"
              ? button("Roll back", (event) => goBack(one, event.currentTarget, again), {
                  kind: "small",
                  name: `Roll back to version ${one.version}`,
                })
              : null,
          )
        : null,
    ),
  );
  if (!rows.length)
    return card(
      "Versions",
      {},
      h(
        "p",
        { class: "note" },
        "There are none yet. One is kept at the end of a sitting, or when the guard accepts a candidate.",
      ),
    );
  return card(
    "Versions",
    {},
    table(
      "Versions, newest first",
      [
        ["Version"],
        ["Status"],
        ["Made"],
        ["Step", "number"],
        ["Learned", "number"],
        ...names.map((name) => [format.scoreName(name), "number"]),
        ["Why"],
        ...(may("operate") ? [["", "number"]] : []),
      ],
      rows,
    ),
  );
}

const score = (name, value) =>
  typeof value !== "number" ? "–" : /accuracy|f1/.test(name) ? format.share(value) : format.number(value);

async function goBack(version, source, again) {
  const after = await attempt(() => look("/v1/rollback", { version: version.version }), source);
  if (after === undefined) return;
  const isSure = await confirmed(
    `Roll back to version ${version.version}?`,
    [
      `Predictions are made by version ${version.version} at once: ${format.counted(version.learned, "example")} learned up to step ${format.whole(version.step)}.`,
      `What was learned after it is set aside: ${format.counted(after.examples_set_aside, "example")}. Learning goes on from version ${version.version}.`,
      "This cannot be undone. The journal keeps the examples, but sent again they are not learned. To try a version first, only serve it (below): then “Serve the newest again” brings everything back.",
    ],
    "Roll back",
    {
      isDangerous: true,
      option: "Only serve it: go on learning from the newest state, and set nothing aside",
    },
  );
  if (!isSure.yes) return;
  const outcome = await attempt(
    () => tell("/v1/rollback", { version: version.version, keep_learned: isSure.option }),
    source,
  );
  if (outcome === undefined) return;
  done(
    `Version ${version.version} is served. ${format.counted(outcome.examples_set_aside, "example")} set aside.`,
  );
  await again();
}

function compare(told) {
  if (told.versions.length < 2) return null;
  const choice = (chosen) => {
    const select = h(
      "select",
      {},
      told.versions.map((one) => h("option", { value: one.version }, `Version ${one.version}`)),
    );
    select.value = String(chosen.version);
    return select;
  };
  const first = choice(told.versions.at(-2));
  const second = choice(told.versions.at(-1));
  const place = h("div", { "aria-live": "polite" });
  const draw = () =>
    filled(place, async () => between(await look("/v1/diff", { first: first.value, second: second.value })));
  first.addEventListener("change", draw);
  second.addEventListener("change", draw);
  draw();
  return card(
    "What lies between two",
    {},
    h("div", { class: "row fields" }, field("From", first), field("To", second)),
    place,
  );
}

function between(told) {
  const [first, second] = told.versions;
  const scores = Object.entries(told.scores).filter(([, pair]) =>
    pair.some((one) => typeof one === "number"),
  );
  const list = (title, counts, ids) => {
    const entries = Object.entries(counts);
    const sum = entries.reduce((all, [, count]) => all + count, 0);
    return h(
      "div",
      {},
      h("h3", {}, `${title}: ${format.counted(sum, "example")}`),
      h(
        "ul",
        { class: "chips" },
        entries.map(([label, count]) =>
          h(
            "li",
            {},
            link("examples", { label }, format.target(label)),
            h("span", { class: "count" }, format.whole(count)),
          ),
        ),
      ),
      ids.length
        ? h(
            "details",
            {},
            h("summary", {}, ids.length < sum ? `The first ${format.whole(ids.length)}` : "Which"),
            h(
              "ul",
              { class: "chips" },
              ids.map((id) => h("li", {}, link("examples", { id }, id))),
            ),
          )
        : null,
    );
  };
  return [
    scores.length
      ? table(
          "Scores of both",
          [["Score"], [`Version ${first}`, "number"], [`Version ${second}`, "number"]],
          scores.map(([name, pair]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, format.scoreName(name)),
              pair.map((one) => h("td", { class: "number" }, score(name, one))),
            ),
          ),
        )
      : null,
    h(
      "div",
      { class: "halves" },
      list(`Only version ${second} has learned`, told.learned, told.learned_ids),
      list(`Only version ${first} has learned`, told.unlearned, told.unlearned_ids),
    ),
  ];
}
