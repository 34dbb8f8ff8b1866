// What needs somebody: the review queue, and a candidate that was refused.

import { look } from "../api.js";
import { card, h, link } from "../dom.js";
import * as format from "../format.js";

const MOST = 100;

export const KINDS = [
  { kind: "suspicious", title: "Suspicious", why: "The label contradicts a confident prediction." },
  { kind: "wrong", title: "Said to be wrong", why: "Somebody said so, and nobody yet what is right." },
  { kind: "unfamiliar", title: "Unfamiliar", why: "Unlike everything that was learned." },
  { kind: "unsure", title: "Least sure", why: "The least probable predictions." },
];

export async function reviewCounts() {
  const { items } = await look("/v1/review", { limit: MOST });
  const total = items.length;
  const by = Object.fromEntries(KINDS.map(({ kind }) => [kind, items.filter((one) => one.kind === kind).length]));
  const counts = { total, by, text: total >= MOST ? `${format.whole(MOST)}+` : format.whole(total) };
  showBadge(counts);
  return counts;
}

// The newest candidate that was refused, and how many were accepted after it; null: none was.
export function newestRefusal(versions) {
  const judged = versions.decisions.filter((one) => one.kind === "guard");
  const place = judged.findLastIndex((one) => one.verdict === "rejected");
  return place < 0 ? null : { decision: judged[place], accepted: judged.length - 1 - place };
}

export function showBadge({ total, text }) {
  const badge = document.getElementById("badge-review");
  if (badge === null) return;
  badge.replaceChildren(total ? text : "", total ? h("span", { class: "unseen" }, " wait") : "");
}

export function attention(versions, queue) {
  const newest = newestRefusal(versions);
  const refused = newest !== null && !newest.accepted ? newest.decision : null;
  const waits = queue === null ? [] : KINDS.filter(({ kind }) => queue.by[kind]);
  return card(
    "What needs you?",
    {},
    refused === null
      ? null
      : h(
          "div",
          { class: "callout" },
          h("p", {}, h("strong", {}, "The last candidate was refused"), ` ${format.ago(refused.time)}`),
          h("p", {}, `${refused.reason}.`),
          h("p", {}, link("versions", {}, "See its exams")),
        ),
    waits.length
      ? h(
          "ul",
          { class: "waits" },
          waits.map(({ kind, title, why }) =>
            h("li", {}, link("review", { kind }, h("strong", {}, format.whole(queue.by[kind])), ` ${title.toLowerCase()}`), h("span", { class: "hint" }, why)),
          ),
        )
      : refused === null
        ? h("p", { class: "note" }, "Nothing. The review queue is empty, and no candidate was refused.")
        : null,
  );
}
