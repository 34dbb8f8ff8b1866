// Questions before something that is not easily undone: what will happen, and a button that names it.

import { button, h, newId } from "./dom.js";

// Resolves to {yes, option}. The browser keeps the focus within, and gives it back.
export function confirmed(title, lines, action, { isDangerous = false, option = null } = {}) {
  return new Promise((resolve) => {
    const titleId = newId("dialog");
    const textId = newId("dialog");
    const choice = option === null ? null : h("input", { type: "checkbox" });
    const dialog = h(
      "dialog",
      { "aria-labelledby": titleId, "aria-describedby": textId },
      h("h2", { id: titleId }, title),
      h(
        "div",
        { id: textId },
        lines.map((line) => h("p", {}, line)),
      ),
      choice === null ? null : h("label", { class: "check" }, choice, h("span", {}, option)),
      h(
        "div",
        { class: "row end" },
        button("Cancel", () => dialog.close("no"), { kind: "quiet" }),
        button(action, () => dialog.close("yes"), { kind: isDangerous ? "danger" : "primary" }),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve({ yes: dialog.returnValue === "yes", option: choice?.checked ?? false });
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

// Asks for a line of text; resolves to it, or to null.
export function askedFor(title, lines, name, action, value = "") {
  return new Promise((resolve) => {
    const titleId = newId("dialog");
    const inputId = newId("dialog");
    const input = h("input", {
      id: inputId,
      type: "text",
      required: true,
      maxlength: 1000,
      autocomplete: "off",
      value,
    });
    const dialog = h(
      "dialog",
      { "aria-labelledby": titleId },
      h("h2", { id: titleId }, title),
      lines.map((line) => h("p", {}, line)),
      h(
        "form",
        {
          onsubmit: (event) => {
            event.preventDefault();
            dialog.close("yes");
          },
        },
        h("div", { class: "field" }, h("label", { for: inputId }, name), input),
        h(
          "div",
          { class: "row end" },
          button("Cancel", () => dialog.close("no"), { kind: "quiet" }),
          button(action, null, { kind: "primary", type: "submit" }),
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? input.value.trim() : null);
    });
    document.body.append(dialog);
    dialog.showModal();
    input.select();
  });
}
