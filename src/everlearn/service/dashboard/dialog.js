// Questions before something that is not easily undone: what will happen, and a button that names it.

import { button, field, h, newId, replace } from "./dom.js";

// Shows a question; resolves to whether it was answered with the action. The browser keeps the focus within, and
// gives it back. check: says what is wrong with what was given; null: nothing. isMet: whether the action may be chosen.
function asked(
  title,
  lines,
  inside,
  action,
  { kind = "primary", check = () => null, isMet = () => true } = {},
) {
  return new Promise((resolve) => {
    const titleId = newId("dialog");
    const textId = newId("dialog");
    const wrong = h("p", { class: "wrong", role: "alert" });
    const go = button(action, null, { kind, type: "submit" });
    const allow = () => {
      go.disabled = !isMet();
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": titleId, "aria-describedby": textId },
      h("h2", { id: titleId }, title),
      h(
        "div",
        { id: textId },
        lines.map((line) => h("p", {}, line)),
      ),
      h(
        "form",
        {
          oninput: allow,
          onsubmit: (event) => {
            event.preventDefault();
            const problem = check();
            replace(wrong, problem);
            if (problem === null) dialog.close("yes");
            else dialog.querySelector("input").focus();
          },
        },
        inside,
        wrong,
        h(
          "div",
          { class: "row end" },
          button("Cancel", () => dialog.close("no"), { kind: "quiet" }),
          go,
        ),
      ),
    );
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    allow();
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector('input:not([type="checkbox"])')?.select();
  });
}

// Resolves to {yes, option}.
export async function confirmed(title, lines, action, { isDangerous = false, option = null } = {}) {
  const choice = option === null ? null : h("input", { type: "checkbox" });
  const inside = choice === null ? null : h("label", { class: "check" }, choice, h("span", {}, option));
  const yes = await asked(title, lines, inside, action, { kind: isDangerous ? "danger" : "primary" });
  return { yes, option: choice?.checked ?? false };
}

// Asks for a line of text; resolves to it, or to null.
export async function askedFor(title, lines, name, action, value = "", { isRequired = true, check } = {}) {
  const input = h("input", {
    type: "text",
    required: isRequired,
    maxlength: 1000,
    autocomplete: "off",
    value,
  });
  const isGiven = await asked(title, lines, field(name, input), action, {
    check: check && (() => check(input.value.trim())),
  });
  return isGiven ? input.value.trim() : null;
}

// Before something is deleted for good its name is typed; resolves to whether it was.
export function confirmedByName(title, lines, name, action) {
  const input = h("input", {
    type: "text",
    maxlength: 1000,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  return asked(title, lines, field(`Type ${name} to go on`, input), action, {
    kind: "danger",
    isMet: () => input.value.trim() === name,
  });
}
