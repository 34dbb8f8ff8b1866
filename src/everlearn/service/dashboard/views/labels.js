// Labels: how many examples each has, how often it is predicted right, what it is taken for; and renaming.

import { look, tell } from "../api.js";
import { bar } from "../chart.js";
import { button, card, field, h, link, replace, table } from "../dom.js";
import { askedFor, confirmed } from "../dialog.js";
import * as format from "../format.js";
import { attempt, done, filled } from "../notices.js";

const ORDERS = {
  examples: ["Most examples first", (a, b) => b.examples - a.examples],
  name: ["By name", (a, b) => a.label.localeCompare(b.label)],
  wrong: ["Most often wrong first", (a, b) => rate(a) - rate(b)],
};

const rate = (one) => (one.arrived ? one.right / one.arrived : 2);

export async function show({ may }) {
  const place = h("div", { class: "cards" });
  const draw = async () => drawn((await look("/v1/labels")).labels, may, () => filled(place, draw));
  await filled(place, draw);
  return place;
}

function drawn(labels, may, again) {
  const sought = h("input", { type: "search", autocomplete: "off" });
  const order = h(
    "select",
    {},
    Object.entries(ORDERS).map(([name, [title]]) => h("option", { value: name }, title)),
  );
  const place = h("div", {});
  const count = h("p", { class: "hint", role: "status" });
  const draw = () => {
    const text = sought.value.trim().toLowerCase();
    const found = labels.filter((one) => one.label.toLowerCase().includes(text)).sort(ORDERS[order.value][1]);
    count.textContent =
      found.length === labels.length
        ? format.counted(found.length, "label")
        : `${format.whole(found.length)} of ${format.counted(labels.length, "label")}`;
    replace(
      place,
      found.length
        ? rows(found, may, labels, again)
        : h("p", { class: "note" }, labels.length ? "No label is called so." : "There are none yet."),
    );
  };
  sought.addEventListener("input", draw);
  order.addEventListener("change", draw);
  draw();
  return card(
    "All labels",
    { aside: count },
    h("div", { class: "row fields" }, field("Find", sought), field("Order", order)),
    place,
  );
}

function rows(found, may, labels, again) {
  const seesExamples = may("operate");
  const to = (query, text) => (seesExamples ? link("examples", query, text) : text);
  return table(
    "Labels",
    [
      ["Label"],
      ["Examples", "number"],
      ["Predicted right", "number"],
      ["", "wide"],
      ["Taken for"],
      ...(seesExamples ? [["", "number"]] : []),
    ],
    found.map((one) =>
      h(
        "tr",
        {},
        h("th", { scope: "row" }, to({ label: one.label }, format.target(one.label))),
        h("td", { class: "number" }, to({ label: one.label }, format.whole(one.examples))),
        h(
          "td",
          { class: "number" },
          one.arrived
            ? [
                format.share(one.right / one.arrived),
                h("span", { class: "hint" }, ` of ${format.whole(one.arrived)}`),
              ]
            : "–",
        ),
        h("td", { class: "wide" }, one.arrived ? bar(one.right / one.arrived) : null),
        h(
          "td",
          {},
          h(
            "ul",
            { class: "chips" },
            one.confused_with
              .slice(0, 3)
              .map((each) =>
                h(
                  "li",
                  {},
                  to({ label: one.label, predicted: each.label }, format.target(each.label)),
                  h("span", { class: "count" }, format.whole(each.count)),
                ),
              ),
          ),
        ),
        seesExamples
          ? h(
              "td",
              { class: "number" },
              button("Rename", (event) => rename(one, labels, event.currentTarget, again), {
                kind: "small",
                name: `Rename ${one.label}`,
              }),
            )
          : null,
      ),
    ),
  );
}

async function rename(one, labels, source, again) {
  const name = await askedFor(
    `Rename ${one.label}`,
    [`${format.counted(one.examples, "example")} get the other label; each is corrected in the journal.`],
    "New name",
    "Rename",
    one.label,
  );
  if (name === null || name === one.label) return;
  const other = labels.find((each) => each.label === name);
  if (other !== undefined) {
    const isSure = await confirmed(
      "Make the two labels one?",
      [
        `There is a label ${name}, with ${format.counted(other.examples, "example")}. Afterwards nothing tells which of them were ${one.label} before.`,
      ],
      "Make them one",
      { isDangerous: true },
    );
    if (!isSure.yes) return;
  }
  const outcome = await attempt(() => tell("/v1/labels/rename", { from: one.label, to: name }), source);
  if (outcome === undefined) return;
  done(
    `${format.counted(outcome.renamed, "example")} renamed to ${name}.${outcome.not_renamed ? ` ${format.whole(outcome.not_renamed)} were not: ${outcome.reason}` : ""}`,
  );
  await again();
}
