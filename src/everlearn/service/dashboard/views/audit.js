// The audit log: who has learned, corrected, deleted, rolled back, and when.

import { look } from "../api.js";
import { button, card, field, h, link, stackedTable } from "../dom.js";
import * as format from "../format.js";

const PAGE = 50;
const SHOWN = 3;
const KINDS = [
  ["", "Any"],
  ["learn", "Learned"],
  ["correct", "Corrected"],
  ["rename", "Renamed a label"],
  ["forget", "Deleted"],
  ["rollback", "Rolled back"],
  ["review", "Reviewed"],
  ["quota", "Set the quota"],
];
const examples = (act) => format.counted(act.examples, "example");
const SENTENCES = {
  learn: (act) => `${examples(act)} learned`,
  correct: (act) => `${examples(act)} corrected`,
  rename: (act) => `A label was renamed: ${examples(act)}`,
  forget: (act) =>
    `${examples(act)} deleted${act.detail.fields ? `, found by ${act.detail.fields.join(", ")}` : ""}${act.detail.approximate ? ", out of memories only" : ""}`,
  rollback: (act) =>
    act.detail.version === undefined
      ? "The newest is served again"
      : `Rolled back to version ${format.whole(act.detail.version)}${act.detail.keep_learned ? ", what was learned since kept" : ""}`,
  review: (act) => reviewed(act.detail),
  quota: (act) =>
    act.detail.max_examples === undefined
      ? "Quota: no bound"
      : `Quota: ${format.counted(act.detail.max_examples, "example")}`,
};

function reviewed({ accepted, rejected, readmit }) {
  const parts = [
    accepted ? `${format.whole(accepted)} accepted` : null,
    rejected ? `${format.whole(rejected)} settled` : null,
    readmit === undefined ? null : `what decision ${format.whole(readmit)} had set aside learned after all`,
  ].filter(Boolean);
  return `Review: ${parts.join(", ") || "nothing"}`;
}

export async function show({ query }) {
  const chosen = { kind: query.get("kind"), author: query.get("author") };
  const after = query.get("after");
  const told = await look("/v1/audit", { ...chosen, after, newest: true, limit: PAGE });
  return h("div", { class: "cards" }, filter(chosen), page(told, chosen, after));
}

function filter(chosen) {
  const kind = h(
    "select",
    {},
    KINDS.map(([value, title]) => h("option", { value }, title)),
  );
  kind.value = KINDS.some(([value]) => value === chosen.kind) ? chosen.kind : "";
  const author = h("input", {
    type: "text",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 1000,
    value: chosen.author ?? "",
  });
  const isChosen = Object.values(chosen).some(Boolean);
  return card(
    "Which",
    {},
    h(
      "form",
      {
        class: "row fields",
        onsubmit: (event) => {
          event.preventDefault();
          location.hash = link("audit", { kind: kind.value, author: author.value.trim() }).hash;
        },
      },
      field("Act", kind),
      field("Name of the key", author),
      h(
        "div",
        { class: "row" },
        button("Show", null, { kind: "primary", type: "submit" }),
        isChosen ? link("audit", {}, "Show all") : null,
      ),
    ),
  );
}

function page(told, chosen, after) {
  const isNarrowed = Object.values(chosen).some(Boolean) || after !== null;
  const pages = h(
    "nav",
    { "aria-label": "Pages", class: "row pages" },
    after === null ? null : link("audit", chosen, "Newest"),
    told.next === null ? null : link("audit", { ...chosen, after: told.next }, "Older"),
  );
  return card(
    "Who has changed what",
    { aside: h("p", { class: "hint" }, told.acts.length ? extent(told.acts) : "") },
    told.acts.length
      ? stackedTable(
          "Acts, newest first",
          [["When"], ["Who"], ["What"], ["Examples"], ["Step", "number"]],
          told.acts.map((act) => row(act, chosen)),
        )
      : h(
          "p",
          { class: "note" },
          isNarrowed ? "There is none such." : "Nobody has changed anything over this service yet.",
        ),
    pages.children.length ? pages : null,
  );
}

const extent = (acts) =>
  acts.length === 1
    ? `act ${format.whole(acts[0].number)}`
    : `acts ${format.whole(acts.at(-1).number)} to ${format.whole(acts[0].number)}`;

function row(act, chosen) {
  const sentence =
    act.kind in SENTENCES ? SENTENCES[act.kind](act) : `${act.kind} ${JSON.stringify(act.detail)}`;
  return h(
    "tr",
    {},
    h(
      "td",
      { class: "time" },
      h("time", { datetime: act.time, title: format.ago(act.time) }, format.time(act.time)),
    ),
    h(
      "td",
      { class: "who" },
      chosen.author === act.author ? act.author : link("audit", { ...chosen, author: act.author }, act.author),
    ),
    h("td", { class: "why" }, sentence),
    h("td", {}, ids(act)),
    h("td", { class: "number" }, format.whole(act.step)),
  );
}

// Those that are not deleted since are named, at most twenty.
function ids(act) {
  if (!act.ids.length) return "–";
  const list = h(
    "ul",
    { class: "chips" },
    act.ids.map((id) => h("li", {}, link("examples", { id }, id))),
  );
  if (act.ids.length <= SHOWN) return list;
  const isAll = act.ids.length === act.examples;
  return h(
    "details",
    {},
    h(
      "summary",
      {},
      isAll
        ? `Which ${format.whole(act.ids.length)}`
        : `${format.whole(act.ids.length)} of ${format.whole(act.examples)}`,
    ),
    list,
  );
}
