// What the page has to say: said to screen readers, too. It goes by itself, but not while somebody is at it.

import { h, replace } from "./dom.js";

const SECONDS = 6;
const SECONDS_OF_PROBLEMS = 10;

function said(text) {
  const place = document.getElementById("said");
  place.textContent = "";
  requestAnimationFrame(() => {
    place.textContent = text;
  });
}

function show(notice) {
  const place = document.getElementById("notices");
  place.append(notice);
  while (place.children.length > 3) place.firstElementChild.remove();
}

// A notice that is pointed at, or has the focus, is being read: it stays for as long, and its time begins again.
function endAfter(notice, seconds) {
  let timer = null;
  const begin = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (notice.matches(":hover, :focus-within")) begin();
      else notice.remove();
    }, seconds * 1000);
  };
  notice.addEventListener("mouseleave", begin);
  notice.addEventListener("focusout", begin);
  begin();
}

// Problems are of the view that they came up in.
export function endProblems() {
  for (const one of document.querySelectorAll("#notices .bad")) one.remove();
}

function closing(notice) {
  return h(
    "button",
    { type: "button", class: "close", "aria-label": "Close", onclick: () => notice.remove() },
    "×",
  );
}

export function done(text) {
  said(text);
  const notice = h("div", { class: "notice good" }, h("p", {}, text));
  notice.append(closing(notice));
  show(notice);
  endAfter(notice, SECONDS);
}

export function problemParts(problem) {
  if (problem.title === undefined) {
    return [
      h("p", { class: "notice-title" }, "The page has failed"),
      h("p", {}, String(problem.message ?? problem)),
    ];
  }
  return [
    h("p", { class: "notice-title" }, problem.title),
    problem.detail ? h("p", {}, problem.detail) : null,
    problem.remedy ? h("p", { class: "remedy" }, problem.remedy) : null,
  ].filter((one) => one !== null);
}

export function failed(problem) {
  const notice = h("div", { class: "notice bad", role: "alert" }, ...problemParts(problem));
  notice.append(closing(notice));
  show(notice);
  endAfter(notice, SECONDS_OF_PROBLEMS);
}

// Do something that may fail; a button is busy meanwhile, and is not pressed twice.
export async function attempt(work, source = null) {
  if (source?.getAttribute("aria-disabled") === "true") return undefined;
  source?.setAttribute("aria-disabled", "true");
  try {
    return await work();
  } catch (problem) {
    failed(problem);
    return undefined;
  } finally {
    source?.removeAttribute("aria-disabled");
  }
}

// Fill a place with what comes; where that fails, with the problem.
export async function filled(place, work) {
  place.setAttribute("aria-busy", "true");
  try {
    replace(place, await work());
  } catch (problem) {
    replace(place, h("div", { class: "notice bad inline" }, ...problemParts(problem)));
  } finally {
    place.setAttribute("aria-busy", "false");
  }
}
