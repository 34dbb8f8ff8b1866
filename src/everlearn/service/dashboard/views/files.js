// Files to learn: uploaded as a whole, and learned as jobs, with how far each has come.

import { get } from "../api.js";
import { button, card, field, h, replace } from "../dom.js";
import * as format from "../format.js";
import { attempt, done, failed } from "../notices.js";
import { upload } from "../upload.js";
import { isOver, jobItem, nameFile } from "./job.js";

const SECONDS_WHILE_LEARNING = 1;
const SECONDS_AT_REST = 10;

export async function show({ tenant, may, whenLeft }) {
  const list = h("ul", { class: "jobs" });
  const empty = h("p", { class: "note" }, "No file has been uploaded yet.");
  const items = new Map();
  let timer = null;
  let hasLeft = false;

  const refresh = async () => {
    clearTimeout(timer);
    const jobs = (await get("/v1/jobs")).jobs.filter((one) => one.tenant === tenant);
    if (hasLeft) return;
    for (const [place, job] of jobs.entries()) {
      if (!items.has(job.id)) items.set(job.id, jobItem(job, may, refresh));
      else items.get(job.id).update(job);
      const { element } = items.get(job.id);
      if (list.children[place] !== element) list.insertBefore(element, list.children[place] ?? null);
    }
    const known = new Set(jobs.map((one) => one.id));
    for (const [id, item] of items) {
      if (known.has(id)) continue;
      item.element.remove();
      items.delete(id);
    }
    empty.hidden = jobs.length > 0;
    again(jobs.every(isOver) ? SECONDS_AT_REST : SECONDS_WHILE_LEARNING);
  };
  const again = (seconds) => {
    clearTimeout(timer);
    // While the service cannot be reached it is asked again, and the page stays as it was.
    timer = setTimeout(() => refresh().catch(() => hasLeft || again(SECONDS_AT_REST)), seconds * 1000);
  };
  whenLeft(() => {
    hasLeft = true;
    clearTimeout(timer);
  });
  await refresh();
  return h("div", { class: "cards" }, chooser(refresh, whenLeft), card("Uploaded files", {}, empty, list));
}

function chooser(refresh, whenLeft) {
  const input = h("input", { type: "file", required: true, accept: ".ndjson,.jsonl,.json,.txt" });
  const submit = button("Upload and learn", null, { kind: "primary", type: "submit" });
  const place = h("div", { class: "sending" });
  const send = async () => {
    const file = input.files[0];
    const stopping = new AbortController();
    const bar = h("progress", { max: file.size || 1, value: 0, "aria-label": `Upload of ${file.name}` });
    const text = h("span", { class: "hint" });
    const onSent = (sent, all) => {
      bar.value = sent;
      bar.max = all;
      text.textContent = `${format.bytes(sent)} of ${format.bytes(all)} sent`;
    };
    onSent(0, file.size || 1);
    whenLeft(() => stopping.abort());
    replace(
      place,
      bar,
      h(
        "div",
        { class: "row" },
        text,
        button("Stop the upload", () => stopping.abort(), { kind: "small" }),
      ),
    );
    try {
      const job = await upload(file, { onSent, signal: stopping.signal });
      if (job === null) {
        done("The upload was stopped; nothing of the file is learned.");
        return;
      }
      nameFile(job.id, file.name);
      done(`${file.name} was uploaded: ${format.counted(job.lines, "line")}.`);
      form.reset();
      await refresh();
    } finally {
      const hadFocus = place.contains(document.activeElement);
      replace(place);
      if (hadFocus) input.focus();
    }
  };
  const form = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        if (input.files.length) attempt(send, submit);
        else failed({ title: "No file was chosen", remedy: "Choose one, then upload it." });
      },
    },
    field("File", input, {
      hint: 'JSON lines (NDJSON): an object a line, such as {"text": "where is my invoice?", "label": "invoice"}. A line with an id is learned once, however often it is uploaded.',
    }),
    h("div", { class: "row" }, submit),
  );
  return card("Learn a file", {}, form, place);
}
