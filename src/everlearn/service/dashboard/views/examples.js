// Examples: those behind every number. Filtered, looked at closely, corrected, deleted.

import { look, tell } from "../api.js";
import { button, card, field, h, link, replace } from "../dom.js";
import * as format from "../format.js";
import { asTarget, isSetTarget, refresh } from "../known_labels.js";
import { labelInput } from "../label_input.js";
import { longText } from "../long_text.js";
import { attempt, done, filled } from "../notices.js";
import { deletion, forget } from "./deletion.js";

const PAGE = 50;
const ROLES = [
  ["", "Any"],
  ["learn", "To be learned"],
  ["exam", "Kept for exams"],
  ["held", "Held for review"],
  ["thinned", "Thinned"],
  ["unlearnable", "Cannot be learned"],
];
const STATUS = { learned: "good", held: "warn", set_aside: "warn", unlearnable: "bad" };

export async function show({ query }) {
  attempt(refresh);
  const certificate = h("div", {});
  const id = query.get("id");
  return h(
    "div",
    { class: "cards" },
    id === null ? [filter(query), results(query, certificate)] : await one(id, certificate),
    certificate,
    deletion(certificate),
  );
}

function filter(query) {
  const text = (name, placeholder = null) =>
    h("input", {
      type: "text",
      name,
      placeholder,
      autocomplete: "off",
      maxlength: 1000,
      value: query.get(name) ?? "",
    });
  const role = h(
    "select",
    { name: "role" },
    ROLES.map(([value, title]) => h("option", { value }, title)),
  );
  role.value = query.get("role") ?? "";
  const wrong = h("input", {
    type: "checkbox",
    name: "wrong",
    value: "true",
    checked: query.get("wrong") === "true",
  });
  const oldest = h("input", {
    type: "checkbox",
    name: "newest",
    value: "false",
    checked: query.get("newest") === "false",
  });
  const form = h(
    "form",
    {
      class: "row fields",
      onsubmit: (event) => {
        event.preventDefault();
        const chosen = [...new FormData(form)].filter(([, value]) => value !== "");
        location.hash = `examples?${new URLSearchParams(chosen)}`;
      },
    },
    field("Text holds", text("text")),
    field("Label", text("label")),
    field("Predicted", text("predicted")),
    field("Field", text("field", "NAME:VALUE")),
    field("Kind", role),
    ["first", "last"]
      .filter((name) => query.has(name))
      .map((name) => h("input", { type: "hidden", name, value: query.get(name) })),
    h("label", { class: "check" }, wrong, h("span", {}, "Predicted wrong")),
    h("label", { class: "check" }, oldest, h("span", {}, "Oldest first")),
    h(
      "div",
      { class: "row" },
      button("Show", null, { kind: "primary", type: "submit" }),
      [...query.keys()].length ? link("examples", {}, "Show all") : null,
    ),
  );
  return card("Which", {}, form, span(query));
}

function span(query) {
  const [first, last] = [query.get("first"), query.get("last")];
  if (first === null && last === null) return null;
  return h(
    "p",
    { class: "hint span" },
    `Those at the places ${first ?? "1"} to ${last ?? "the last"} of the journal: what came with a file, and what came from elsewhere while it was learned.`,
  );
}

function results(query, certificate) {
  const list = h("ul", { class: "examples" });
  const status = h("p", { class: "hint", role: "status" });
  const more = button("More", (event) => attempt(next, event.currentTarget));
  const chosen = new Set();
  const remove = button(
    "Delete the chosen …",
    (event) =>
      forget({ ids: [...chosen] }, certificate, event.currentTarget).then((isDone) => isDone && gone()),
    { kind: "danger small" },
  );
  remove.hidden = true;
  const onChosen = (id, isChosen) => {
    if (isChosen) chosen.add(id);
    else chosen.delete(id);
    remove.hidden = chosen.size === 0;
    remove.textContent = `Delete ${format.counted(chosen.size, "example")} …`;
  };
  const gone = () => {
    for (const item of [...list.children]) if (chosen.has(item.dataset.id)) item.remove();
    chosen.clear();
    remove.hidden = true;
    tellCount();
  };
  let after = null;
  const tellCount = () => {
    const count = list.children.length;
    status.textContent = count
      ? `${format.counted(count, "example")}${after === null ? "" : ", and there may be more"}`
      : "There is none such.";
    more.hidden = after === null;
  };
  // A page may be empty and go on all the same: each reads a bounded part of the journal.
  const next = async () => {
    let found = [];
    do {
      const told = await look("/v1/examples", {
        ...Object.fromEntries(query),
        field: query.getAll("field"),
        after,
        limit: PAGE,
      });
      found = told.items;
      after = told.next;
    } while (!found.length && after !== null);
    const items = found.map((example) => row(example, onChosen));
    list.append(...items);
    tellCount();
    if (list.children.length > items.length) items[0]?.querySelector("summary").focus();
  };
  const place = h("div", {});
  filled(place, async () => {
    await next();
    return [list, h("div", { class: "row" }, more)];
  });
  return card("Examples", { aside: h("div", { class: "row" }, remove, status) }, place);
}

function row(example, onChosen) {
  const id = example.id;
  const choice = h("input", {
    type: "checkbox",
    "aria-label": `Choose ${id}`,
    onchange: () => onChosen(id, choice.checked),
  });
  const inside = h("div", { class: "inside" });
  const isWrong =
    example.predicted !== null && example.target !== null && example.predicted !== example.target;
  const details = h(
    "details",
    {
      ontoggle: () => {
        if (details.open && !inside.children.length) filled(inside, () => closely(example));
      },
    },
    h("summary", {}, h("span", { class: "text" }, example.text ?? `The text of ${id} is not kept.`)),
    inside,
  );
  const item = h(
    "li",
    {},
    choice,
    h(
      "div",
      {},
      details,
      h(
        "p",
        { class: "facts" },
        h("span", { class: "chip strong" }, format.target(example.target)),
        example.predicted === null
          ? null
          : h(
              "span",
              { class: isWrong ? "chip bad" : "chip good" },
              `${isWrong ? "predicted" : "so predicted"}${isWrong ? ` ${format.target(example.predicted)}` : ""} ${format.share(example.confidence)}`,
            ),
        example.status === "learned"
          ? null
          : h("span", { class: `chip ${STATUS[example.status] ?? ""}` }, example.status.replace("_", " ")),
        example.is_outlier ? h("span", { class: "chip" }, "unfamiliar") : null,
        h("span", { class: "hint" }, `${id} · ${format.time(example.time)}`),
      ),
    ),
  );
  item.dataset.id = id;
  return item;
}

async function one(id, certificate) {
  const blamed = await look("/v1/blame", { id });
  const { items } = await look("/v1/examples", { after: blamed.offset - 1, newest: false, limit: 1 });
  const example = items.find((each) => each.id === id) ?? {
    id,
    text: null,
    fields: {},
    target: blamed.target,
  };
  return card(
    `Example ${id}`,
    { aside: link("examples", {}, "All examples") },
    longText(example.text ?? "Its text is not kept: everlearn learn --keep-text keeps those that come."),
    await closely(example, blamed),
    h(
      "div",
      { class: "row" },
      button("Delete …", (event) => forget({ ids: [id] }, certificate, event.currentTarget), {
        kind: "danger small",
        name: `Delete ${id} …`,
      }),
    ),
  );
}

async function closely(example, known = null) {
  const told = known ?? (await look("/v1/blame", { id: example.id }));
  const pair = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const steps = (all) => all.map((step) => format.whole(step)).join(", ");
  return [
    h(
      "dl",
      { class: "pairs" },
      pair("Label", format.target(told.target)),
      pair(
        "Predicted",
        told.predicted === null ? "–" : `${format.target(told.predicted)}, ${format.share(told.confidence)}`,
      ),
      pair("Came", `step ${format.whole(told.arrived_step)}, ${format.time(told.arrived_time)}`),
      pair("Learned in", told.learned_steps.length ? `step ${steps(told.learned_steps)}` : "no step"),
      told.set_aside_steps.length ? pair("Set aside", `step ${steps(told.set_aside_steps)}`) : null,
      pair(
        "Held by",
        told.held ? "the newest state" : "not the newest state",
        told.versions.length ? `; version ${steps(told.versions)}` : "",
      ),
      Object.entries(example.fields ?? {}).map(([name, value]) =>
        pair(
          name,
          typeof value === "string"
            ? link("examples", { field: `${name}:${value}` }, value)
            : JSON.stringify(value),
        ),
      ),
    ),
    correction(example),
  ];
}

function correction(example) {
  const isSet = isSetTarget(example.target);
  const correct = async (event) => {
    event?.preventDefault();
    const typed = other.input.value.trim();
    if (!typed) return;
    const told = await attempt(
      () => tell("/v1/correct", { targets: { [example.id]: asTarget(typed, isSet) } }),
      submit,
    );
    if (told === undefined) return;
    const [became] = told.results;
    done(
      became.status === "corrected" ? `${example.id} is ${typed} now.` : `Not corrected: ${became.reason}`,
    );
    const chip = form.closest("li[data-id]")?.querySelector(".chip.strong");
    if (chip && became.status === "corrected") chip.textContent = typed;
    replace(
      other.element.parentElement.querySelector(".said"),
      became.status === "corrected" ? "Corrected." : "",
    );
  };
  const other = labelInput(`Another label for ${example.id}`, { onchosen: () => isSet || correct() });
  const submit = button("Correct", null, { type: "submit", kind: "small" });
  const form = h(
    "form",
    { class: "row", onsubmit: correct },
    other.element,
    submit,
    h("span", { class: "hint said" }),
  );
  return form;
}
