// Deletion by id or by field, with the certificate that proves it.

import { tell } from "../api.js";
import { button, card, field, h, replace } from "../dom.js";
import { confirmed } from "../dialog.js";
import * as format from "../format.js";
import { attempt, done } from "../notices.js";

export function deletion(place) {
  const ids = h("textarea", { rows: 2, autocomplete: "off", spellcheck: "false" });
  const name = h("input", { type: "text", autocomplete: "off", maxlength: 1000 });
  const value = h("input", { type: "text", autocomplete: "off", maxlength: 1000 });
  const submit = button("Delete …", null, { kind: "danger", type: "submit" });
  const form = h(
    "form",
    {
      class: "row fields",
      onsubmit: async (event) => {
        event.preventDefault();
        const body = { ids: ids.value.split(/\s+/).filter(Boolean) };
        if (name.value.trim()) body.where = { [name.value.trim()]: value.value };
        if (!body.ids.length && !body.where) return;
        if (await forget(body, place, submit)) form.reset();
      },
    },
    field("Ids, one a line", ids),
    field("Or all with the field", name),
    field("of the value", value),
    h("div", { class: "row" }, submit),
  );
  return card(
    "Delete examples",
    {},
    h(
      "p",
      { class: "hint" },
      "They leave the journal, the state and every version; a certificate says so, with fingerprints that anybody can compute again.",
    ),
    form,
  );
}

// Resolves to whether something was deleted.
export async function forget(body, place, source) {
  const which = [
    body.ids?.length ? format.counted(body.ids.length, "example") : null,
    body.where
      ? `${body.ids?.length ? "of these, all" : "all examples"} with ${Object.entries(body.where)
          .map(([name, value]) => `${name} = ${value}`)
          .join(", ")}`
      : null,
  ]
    .filter(Boolean)
    .join("; ");
  const isSure = await confirmed(
    "Delete for good?",
    [
      `${which}.`,
      "What was learned from them is taken out as if they had never come. This cannot be undone.",
    ],
    "Delete",
    { isDangerous: true },
  );
  if (!isSure.yes) return false;
  const told = await attempt(() => tell("/v1/forget", body), source);
  if (told === undefined) return false;
  done(`${format.counted(told.forgotten, "example")} deleted.`);
  replace(place, proof(told));
  place.firstElementChild.scrollIntoView({ block: "nearest" });
  return told.forgotten > 0;
}

function proof(told) {
  const pair = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const text = told.certificate === null ? null : JSON.stringify(told.certificate, null, 2);
  return card(
    told.forgotten ? `${format.counted(told.forgotten, "example")} deleted` : "Nothing was deleted",
    { name: "proof" },
    h(
      "dl",
      { class: "pairs" },
      pair(
        "Exact",
        told.exact
          ? "yes: the state is that of a run which never saw them"
          : "no: they are out of what is kept, not out of the weights",
      ),
      pair("Fingerprint before", h("code", {}, told.fingerprint_before)),
      pair("Fingerprint after", h("code", {}, told.fingerprint_after)),
      told.removed_labels.length ? pair("Labels gone with them", told.removed_labels.join(", ")) : null,
      told.unknown_ids.length ? pair("Unknown ids", told.unknown_ids.join(", ")) : null,
    ),
    told.notes.map((note) => h("p", { class: "hint" }, note)),
    text === null
      ? null
      : [
          h("h3", {}, "Certificate"),
          h("pre", { class: "certificate", tabindex: "0", "aria-label": "Certificate" }, text),
          h(
            "div",
            { class: "row" },
            button("Download", () => download(text, `certificate-${told.step}.json`)),
          ),
        ],
  );
}

function download(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
