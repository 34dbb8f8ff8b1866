// Signing in with a key. The page keeps none: a cookie that scripts cannot read stands for it.

import { post } from "../api.js";
import { button, field, h, replace } from "../dom.js";
import { problemParts } from "../notices.js";

export function askForKey(place, { problem, whenIn }) {
  const told = h("div", { role: "alert" });
  const input = h("input", {
    type: "password",
    autocomplete: "current-password",
    required: true,
    maxlength: 1000,
  });
  const say = (one) => replace(told, h("div", { class: "notice bad inline" }, ...problemParts(one)));
  const form = h(
    "form",
    {
      class: "sign-in",
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          await post("/v1/session", { key: input.value.trim() });
        } catch (one) {
          say(one);
          input.select();
          return;
        }
        whenIn();
      },
    },
    h("h1", {}, "Sign in"),
    told,
    field("Key", input, { hint: "everlearn keys add makes one." }),
    button("Sign in", null, { kind: "primary", type: "submit" }),
  );
  if (problem !== null) say(problem);
  replace(place, form);
  place.setAttribute("aria-busy", "false");
  input.focus();
}
