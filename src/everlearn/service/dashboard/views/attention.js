// What needs somebody: the review queue, and a candidate that was refused.

import { look } from "../api.js";
import { card, h, link } from "../dom.js";
import * as format from "../format.js";

const MOST = 100;

export const KINDS = [
  { kind: "suspicious", title: "Suspicious", why: "The label contradicts a confident prediction." },
  { kind: "wrong", title: "Said to be wrong", why: "Somebody said so, and nobody yet what is right." },
  { kind: "unfamiliar", title: "Unfamiliar", why: "Unlike everything that was learned." },
  {
    kind: "unsure",
    title: "Least sure",
    why: "The least probable predictions; to label these teaches most.",
  },
];

// Some prediction is always the least sure: these need nobody, and are not counted.
const NEEDED = KINDS.filter(({ kind }) => kind !== "unsure");

const atMost = (count, most) => (count >= most ? `${format.whole(most)}+` : format.whole(count));

export async function reviewCounts() {
  const queues = await Promise.all(NEEDED.map(({ kind }) => look("/v1/review", { kind, limit: MOST })));
  const by = Object.fromEntries(NEEDED.map(({ kind }, k) => [kind, queues[k].items.length]));
  const total = queues.reduce((all, { items }) => all + items.length, 0);
  const isMore = queues.some(({ items }) => items.length >= MOST);
  const counts = { total, by, text: `${format.whole(total)}${isMore ? "+" : ""}` };
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
  const waits = queue === null ? [] : NEEDED.filter(({ kind }) => queue.by[kind]);
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
            h(
              "li",
              {},
              link(
                "review",
                { kind },
                h("strong", {}, atMost(queue.by[kind], MOST)),
                ` ${title.toLowerCase()}`,
              ),
              h("span", { class: "hint" }, why),
            ),
          ),
        )
      : h(
          "p",
          { class: "note" },
          queue === null
            ? "No key of this role sees the review queue."
            : "Nothing in the queue is suspicious, wrong or unfamiliar.",
        ),
    newest === null || refused !== null
      ? null
      : h(
          "p",
          { class: "also" },
          `A candidate was refused ${format.ago(newest.decision.time)}; ${format.counted(newest.accepted, "was", "were")} accepted since. `,
          link("versions", {}, "See why"),
        ),
    queue === null
      ? null
      : h("p", { class: "also" }, link("review", { kind: "unsure" }, "Label the least sure predictions")),
  );
}
