// The tenants of a hub: what each has learned and takes; they are added, given quotas, looked at, and removed.

import { get, patch, post, remove } from "../api.js";
import { bar } from "../chart.js";
import { askedFor, confirmedByName } from "../dialog.js";
import { button, card, field, h, replace, stackedTable } from "../dom.js";
import * as format from "../format.js";
import { attempt, done } from "../notices.js";

const PAGE = 20;
const AT_ONCE = 4;

const pathOf = (name) => `/v1/tenants/${encodeURIComponent(name)}`;

export function show({ may, tenants }) {
  return h(
    "div",
    { class: "cards" },
    tenants.names().length
      ? all(may, tenants)
      : h("p", { class: "note" }, "There is no tenant yet. Each learns its own labels, unseen by the others."),
    may("admin") ? adding(tenants) : null,
  );
}

function all(may, tenants) {
  const sought = h("input", { type: "search", autocomplete: "off" });
  const count = h("p", { class: "hint", role: "status" });
  const place = h("div", {});
  let most = PAGE;
  let drawn = 0;
  const draw = () => {
    const now = (drawn += 1);
    const names = tenants.names();
    const text = sought.value.trim().toLowerCase();
    const found = names.filter((name) => name.toLowerCase().includes(text));
    count.textContent =
      found.length === names.length
        ? format.counted(found.length, "tenant")
        : `${format.whole(found.length)} of ${format.counted(names.length, "tenant")}`;
    const rows = found.slice(0, most).map((name) => row(name, may, tenants));
    const more = button("More", () => {
      const first = most;
      most += PAGE;
      draw();
      place.querySelectorAll("tbody th")[first]?.focus();
    });
    replace(
      place,
      rows.length ? listed(rows, may) : h("p", { class: "note" }, "No tenant is called so."),
      found.length > most ? h("div", { class: "row more-row" }, more) : null,
    );
    fill(rows, () => now === drawn);
  };
  sought.addEventListener("input", draw);
  draw();
  return card("All tenants", { aside: count }, field("Find", sought), place);
}

function listed(rows, may) {
  return stackedTable(
    "Tenants",
    [
      ["Tenant"],
      ["Examples", "number"],
      ["Labels", "number"],
      ["Accuracy", "number"],
      ["Memory", "number"],
      ["Quota", "number"],
      [may("admin") ? "" : "Shown"],
    ],
    rows.map((one) => one.element),
  );
}

// A few are asked at once: each reads its tenant's journal.
async function fill(rows, isWanted) {
  const left = [...rows];
  const work = async () => {
    for (let one = left.shift(); one !== undefined; one = left.shift()) {
      if (isWanted()) await one.fill();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

function row(name, may, tenants) {
  const cells = Object.fromEntries(
    ["examples", "labels", "accuracy", "memory", "quota"].map((one) => [
      one,
      h("td", { class: "number" }, "…"),
    ]),
  );
  const problem = h("span", { class: "problem" });
  const element = h("tr", { "aria-busy": "true" });
  let quota = null;
  const fill = async () => {
    try {
      const told = await get(pathOf(name));
      quota = told.max_examples;
      cells.examples.textContent = format.whole(told.examples);
      cells.labels.textContent = format.whole(told.labels);
      cells.accuracy.textContent = format.share(told.accuracy);
      cells.memory.textContent = told.memory_bytes === null ? "–" : format.bytes(told.memory_bytes);
      replace(cells.quota, quotaOf(told));
      problem.textContent = told.problem ?? "";
    } catch (error) {
      for (const cell of Object.values(cells)) cell.textContent = "–";
      problem.textContent = error.detail ?? String(error);
    } finally {
      element.setAttribute("aria-busy", "false");
    }
  };
  element.append(
    h("th", { scope: "row", tabindex: "-1" }, name, problem),
    ...Object.values(cells),
    h(
      "td",
      {},
      h(
        "div",
        { class: "row actions" },
        name === tenants.chosen()
          ? h("span", { class: "chip good" }, "shown now")
          : button("Look at", () => tenants.choose(name), { kind: "small", name: `Look at ${name}` }),
        may("admin")
          ? [
              button("Quota …", (event) => setQuota(name, quota, event.currentTarget, fill), {
                kind: "small",
                name: `Quota of ${name} …`,
              }),
              button("Remove …", (event) => removed(name, event.currentTarget, tenants), {
                kind: "small danger",
                name: `Remove ${name} …`,
              }),
            ]
          : null,
      ),
    ),
  );
  return { element, fill };
}

function quotaOf(told) {
  if (told.max_examples === null) return h("span", { class: "hint" }, "no bound");
  const taken = (told.examples ?? 0) / told.max_examples;
  return h(
    "div",
    {},
    taken >= 1 ? h("span", { class: "chip warn" }, "used up") : null,
    format.whole(told.max_examples),
    bar(Math.min(1, taken)),
  );
}

// What is typed, as a quota; undefined: it is none.
function asQuota(typed) {
  if (typed === "") return null;
  const number = Number(typed);
  return /^\d+$/.test(typed) && number >= 1 && Number.isSafeInteger(number) ? number : undefined;
}

const wrongQuota = (typed) =>
  asQuota(typed) === undefined ? "A quota is a whole number from 1, or nothing: no bound." : null;

async function setQuota(name, before, source, again) {
  const typed = await askedFor(
    `Quota of ${name}`,
    ["What it has learned stays, even where that is more. Leave the field empty for no bound."],
    "Most examples that it may learn",
    "Set the quota",
    before === null ? "" : String(before),
    { isRequired: false, check: wrongQuota },
  );
  if (typed === null) return;
  const told = await attempt(() => patch(pathOf(name), { max_examples: asQuota(typed) }), source);
  if (told === undefined) return;
  done(
    told.max_examples === null
      ? `${name} may learn any number of examples.`
      : `${name} may learn ${format.counted(told.max_examples, "example")}.`,
  );
  await again();
}

async function removed(name, source, tenants) {
  const isSure = await confirmedByName(
    `Remove ${name} for good?`,
    [
      "All that it has learned is deleted with it: examples, labels, versions, its audit log. Other tenants stay as they are.",
      "This cannot be undone.",
    ],
    name,
    "Remove it",
  );
  if (!isSure) return;
  const told = await attempt(() => remove(pathOf(name)), source);
  if (told === undefined) return;
  done(`${name} was removed.`);
  await tenants.reload();
}

function adding(tenants) {
  const name = h("input", { type: "text", required: true, maxlength: 1000, autocomplete: "off" });
  const quota = h("input", { type: "text", inputmode: "numeric", maxlength: 16, autocomplete: "off" });
  const texts = h(
    "select",
    {},
    [
      ["", "As the hub does"],
      ["true", "Keep them"],
      ["false", "Do not keep them"],
    ].map(([value, text]) => h("option", { value }, text)),
  );
  const wrong = h("p", { class: "wrong", role: "alert" });
  const submit = button("Add", null, { kind: "primary", type: "submit" });
  const add = async () => {
    const asked = { name: name.value.trim(), max_examples: asQuota(quota.value.trim()) };
    if (texts.value) asked.settings = { "run.keep_text": texts.value === "true" };
    const told = await post("/v1/tenants", asked);
    done(`${told.tenant} was added.`);
    await tenants.reload();
  };
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        const problem = wrongQuota(quota.value.trim());
        replace(wrong, problem);
        if (problem === null) attempt(add, submit);
        else quota.focus();
      },
    },
    h(
      "div",
      { class: "row fields top" },
      field("Name", name, { hint: "Up to 200 bytes of text, not beginning with a dot, without / and \; other languages and spaces, too." }),
      field("Most examples", quota, { hint: "Its quota. Nothing: no bound." }),
      field("Texts", texts, { hint: "Without them examples can be learned, but not read." }),
    ),
    wrong,
    h("div", { class: "row" }, submit),
  );
  return card("Add a tenant", {}, form);
}
