// A field for a label, which proposes known ones while one types (the combobox of the ARIA practices).

import { h, newId, replace } from "./dom.js";
import { whole } from "./format.js";
import { arrived, labels } from "./known_labels.js";

const SHOWN = 8;

// Best first: those that begin with what is typed, then those that hold it; the most frequent before others.
export function proposals(typed, known) {
  const sought = typed.trim().toLowerCase();
  const rank = (label) =>
    label.toLowerCase().startsWith(sought) ? 0 : label.toLowerCase().includes(sought) ? 1 : 2;
  return known
    .map((one) => ({ ...one, rank: rank(one.label) }))
    .filter((one) => one.rank < 2)
    .sort((a, b) => a.rank - b.rank || b.examples - a.examples || a.label.localeCompare(b.label))
    .slice(0, SHOWN);
}

// onchosen: is told of a label that is picked from the list.
export function labelInput(name, { onchosen = () => {}, value = "" } = {}) {
  const listId = newId("labels");
  const list = h("ul", {
    id: listId,
    role: "listbox",
    "aria-label": "Known labels",
    class: "proposals",
    hidden: true,
  });
  const input = h("input", {
    type: "text",
    role: "combobox",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": name,
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": listId,
    maxlength: 1000,
    placeholder: "Another label …",
    value,
  });
  let shown = [];
  let active = -1;
  let isWanted = false;

  const close = () => {
    isWanted = false;
    list.hidden = true;
    active = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const pick = (label) => {
    input.value = label;
    close();
    onchosen(label);
  };
  const mark = (place) => {
    active = place;
    [...list.children].forEach((option, k) => option.setAttribute("aria-selected", String(k === active)));
    if (active < 0) input.removeAttribute("aria-activedescendant");
    else {
      input.setAttribute("aria-activedescendant", list.children[active].id);
      list.children[active].scrollIntoView({ block: "nearest" });
    }
  };
  const propose = () => {
    shown = proposals(input.value, labels());
    replace(
      list,
      shown.map((one) =>
        h(
          "li",
          {
            id: newId("label"),
            role: "option",
            "aria-selected": "false",
            onpointerdown: (event) => event.preventDefault(), // the focus stays in the field
            onclick: () => pick(one.label),
          },
          h("span", {}, one.label),
          h("span", { class: "count", "aria-hidden": "true" }, whole(one.examples)),
        ),
      ),
    );
    list.hidden = shown.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark(-1);
  };
  const open = () => {
    isWanted = true;
    propose();
    const before = labels(); // one may type before the labels are here
    arrived().then(() => isWanted && active < 0 && labels() !== before && propose());
  };

  input.addEventListener("input", open);
  input.addEventListener("focus", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) open();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (shown.length)
        mark((active + step + shown.length + (active < 0 && step < 0 ? 1 : 0)) % shown.length);
    } else if (event.key === "Enter" && active >= 0) {
      event.preventDefault();
      pick(shown[active].label);
    } else if (event.key === "Escape" && !list.hidden) {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  return { input, element: h("div", { class: "combobox" }, input, list) };
}
