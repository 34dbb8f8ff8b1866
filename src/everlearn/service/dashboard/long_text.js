// A text of somebody's: the beginning of a long one, and all of it when that is asked for.

import { button, h } from "./dom.js";
import * as format from "./format.js";

const SHOWN = 2_000; // characters
const MORE = 500; // a text that is hardly longer is not cut

export function longText(text) {
  const place = h("p", { class: "text" }, text);
  if (text.length <= SHOWN + MORE) return place;
  // (Not between the halves of a character.)
  const beginning = text.slice(0, SHOWN).replace(/[\uD800-\uDBFF]$/, "");
  place.textContent = `${beginning} …`;
  const all = button(
    `Show all ${format.counted(text.length, "character")}`,
    () => {
      place.textContent = text;
      all.remove();
      place.tabIndex = -1;
      place.focus({ preventScroll: true });
    },
    { kind: "quiet small" },
  );
  return [place, all];
}
