// Elements, built from data. Texts become text nodes, never markup: what they hold is nobody's to trust.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in PROPERTIES) element[PROPERTIES[name]] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(
    ...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false),
  );
  return element;
}

const PROPERTIES = { value: "value", checked: "checked", disabled: "disabled" };

export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function s(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

export function replace(place, ...children) {
  place.replaceChildren(
    ...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false),
  );
}

let lastId = 0;

export function newId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

export function card(title, { aside = null, name = "", level = "h2" } = {}, ...children) {
  const id = newId("card");
  return h(
    "section",
    { class: `card ${name}`, "aria-labelledby": id },
    h("header", { class: "card-head" }, h(level, { id }, title), aside),
    ...children,
  );
}

export function link(section, query, ...children) {
  const kept = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  const parameters = new URLSearchParams(kept).toString();
  return h("a", { href: `#${section}${parameters ? `?${parameters}` : ""}` }, ...children);
}

export function button(label, onclick, { kind = "", name = null, type = "button" } = {}) {
  return h("button", { type, class: `button ${kind}`, "aria-label": name, onclick }, label);
}

export function field(label, input, { hint = null, name = "" } = {}) {
  input.id ||= newId("field");
  const hintId = hint === null ? null : newId("hint");
  if (hintId !== null) input.setAttribute("aria-describedby", hintId);
  return h(
    "div",
    { class: `field ${name}` },
    h("label", { for: input.id }, label),
    input,
    hint === null ? null : h("p", { class: "hint", id: hintId }, hint),
  );
}

export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "table-place", tabindex: "0", role: "group", "aria-label": caption },
    h(
      "table",
      {},
      h("caption", { class: "unseen" }, caption),
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([name, kind = ""]) => h("th", { scope: "col", class: kind }, name)),
        ),
      ),
      h("tbody", {}, rows),
    ),
  );
}

const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };

// A table whose rows are put one below the other where it is narrow, each cell with its column's name. Roles are
// said, as browsers drop those of tables that are laid out otherwise.
export function stackedTable(caption, columns, rows) {
  const place = table(caption, columns, rows);
  place.classList.add("stacked");
  for (const one of place.querySelectorAll("table, thead, tbody, tr, td")) {
    one.setAttribute("role", ROLES[one.tagName]);
  }
  for (const one of place.querySelectorAll("th")) {
    one.setAttribute("role", one.scope === "row" ? "rowheader" : "columnheader");
  }
  for (const row of rows) {
    [...row.children].forEach((cell, k) => cell.setAttribute("data-name", columns[k][0]));
  }
  return place;
}
