// A file on its way to the service, with how much of it has come through (which fetch does not tell).

import { Problem, addressOf, headersOf, ofTenant, problemOf } from "./api.js";

// Resolves to the job; to null: it was stopped on the way. onSent: is told of bytes that were sent, and of all.
export async function upload(file, { onSent, signal }) {
  await readable(file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", addressOf("/v1/jobs", ofTenant()));
    const headers = { ...headersOf("POST"), "Content-Type": "application/x-ndjson" };
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onSent(event.loaded, event.total);
    request.onload = () => {
      const told = parsed(request.responseText);
      if (request.status === 202) resolve(told);
      else reject(problemOf(request.status, told));
    };
    request.onerror = () =>
      reject(
        new Problem({
          title: "The upload broke off",
          detail: "The service has stopped, or takes no file as large as this one. Nothing of it is learned.",
          remedy: "Try again, or with a part of the file; max_upload_mb says how large a file may be.",
        }),
      );
    request.onabort = () => resolve(null);
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}

// A file that was moved or changed since it was chosen looks like a broken connection when it is sent.
async function readable(file) {
  try {
    await (file.size ? file.slice(0, 1) : file).arrayBuffer(); // one that has gone is empty
  } catch {
    throw new Problem({
      title: "The file cannot be read",
      detail: `${file.name} has changed or gone since it was chosen, or is a folder.`,
      remedy: "Choose it again.",
    });
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
