// The page: who is here, which tenant is meant, which section is shown.

import * as api from "./api.js";
import { button, h, link, replace } from "./dom.js";
import * as live from "./live.js";
import { attempt, endProblems, filled } from "./notices.js";
import * as audit from "./views/audit.js";
import * as events from "./views/events.js";
import * as examples from "./views/examples.js";
import * as files from "./views/files.js";
import * as labels from "./views/labels.js";
import * as overview from "./views/overview.js";
import * as review from "./views/review.js";
import { askForKey } from "./views/sign_in.js";
import * as tenants from "./views/tenants.js";
import * as tryText from "./views/try_text.js";
import * as versions from "./views/versions.js";

const ROLES = ["predict", "label", "operate", "admin"];
const SECTIONS = [
  { name: "overview", title: "Overview", role: "predict", view: overview },
  { name: "try", title: "Try a text", role: "predict", view: tryText },
  { name: "review", title: "Review", role: "label", view: review },
  { name: "versions", title: "Versions", role: "predict", view: versions },
  { name: "labels", title: "Labels", role: "predict", view: labels },
  { name: "examples", title: "Examples", role: "operate", view: examples },
  { name: "files", title: "Files", role: "label", view: files },
  { name: "events", title: "Events", role: "operate", view: events },
  { name: "audit", title: "Audit log", role: "operate", view: audit },
  { name: "tenants", title: "Tenants", role: "predict", view: tenants, isOfHub: true },
];
const REMEMBERED = "everlearn-tenant";

const session = { role: "predict", name: "", tenant: null, tenants: [], isHub: false };
let ends = [];

export function may(role) {
  return ROLES.indexOf(session.role) >= ROLES.indexOf(role);
}

// A hub may have no tenant yet; then there is nothing else to look at.
function open() {
  return SECTIONS.filter(
    (one) => may(one.role) && (one.isOfHub ? session.isHub : session.tenant !== null),
  );
}

function place() {
  const [name, query = ""] = location.hash.slice(1).split("?");
  const section = open().find((one) => one.name === name) ?? open()[0];
  return { section, query: new URLSearchParams(query) };
}

function leave() {
  for (const end of ends) end();
  ends = [];
}

async function show({ movesFocus = true } = {}) {
  leave();
  const own = ends; // of this visit: what comes after it is left ends at once
  const whenLeft = (end) => (own === ends ? own.push(end) : end());
  const { section, query } = place();
  if (section === undefined) {
    replace(document.getElementById("view"), h("p", { class: "note" }, "There is no tenant that you may see."));
    return;
  }
  for (const one of document.querySelectorAll("#sections a")) {
    if (one.hash.slice(1) === section.name) {
      one.setAttribute("aria-current", "page");
      // (scrollIntoView would let the next Tab begin here.)
      const nav = one.closest("nav");
      nav.scrollLeft = one.offsetLeft - nav.offsetLeft - (nav.clientWidth - one.offsetWidth) / 2;
    } else one.removeAttribute("aria-current");
  }
  document.title = `${section.title} · ${session.tenant ?? "everlearn"} · everlearn`;
  const view = document.getElementById("view");
  const title = h("h1", { tabindex: "-1" }, section.title);
  const body = h("div", { class: `view view-${section.name}` });
  replace(view, title, body);
  view.setAttribute("aria-busy", "false");
  if (movesFocus) {
    title.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
  const context = { query, title, may, tenant: session.tenant, tenants: ofHub, whenLeft };
  await filled(body, () => section.view.show(context));
}

function drawSections() {
  replace(
    document.getElementById("sections"),
    open().map((one) =>
      h("li", {}, link(one.name, {}, one.title, h("span", { class: "badge", id: `badge-${one.name}` }))),
    ),
  );
}

function drawWho(told) {
  replace(
    document.getElementById("who"),
    h("p", { class: "who-name" }, told.needs_key ? told.name : "No keys: this machine only"),
    told.needs_key ? h("p", { class: "hint" }, `may ${told.role}`) : null,
    told.needs_key
      ? button("Sign out", (event) => attempt(signOut, event.currentTarget), { kind: "quiet small" })
      : null,
  );
}

async function signOut() {
  await api.remove("/v1/session");
  begin();
}

// The tenants, for the section that is about them.
const ofHub = {
  names: () => session.tenants,
  chosen: () => session.tenant,
  choose: (name) => {
    choose(name);
    drawTenants();
    return show();
  },
  reload: async () => {
    await loadTenants();
    await show();
  },
};

async function loadTenants() {
  const told = await api.get("/v1/tenants");
  Object.assign(session, { tenants: told.tenants, isHub: told.is_hub });
  const before = session.tenant ?? sessionStorage.getItem(REMEMBERED);
  choose(told.tenants.includes(before) ? before : (told.tenants[0] ?? null));
  drawTenants();
  drawSections();
}

function drawTenants() {
  const at = document.getElementById("tenant-place");
  if (!session.isHub || session.tenant === null) {
    replace(at, session.tenant === null ? null : h("p", { class: "tenant-name" }, session.tenant));
    return;
  }
  const choice = h(
    "select",
    {
      id: "tenant",
      onchange: (event) => {
        choose(event.currentTarget.value);
        show({ movesFocus: false });
      },
    },
    session.tenants.map((name) => h("option", { value: name }, name)),
  );
  choice.value = session.tenant;
  replace(at, h("label", { for: "tenant" }, "Tenant"), choice);
}

function choose(name) {
  session.tenant = name;
  api.useTenant(name, session.isHub);
  if (session.isHub && name !== null) sessionStorage.setItem(REMEMBERED, name);
}

function signIn(problem = null) {
  leave();
  live.stop();
  session.tenant = null;
  for (const id of ["sections", "who", "tenant-place"]) replace(document.getElementById(id));
  document.title = "Sign in · everlearn";
  askForKey(document.getElementById("view"), { problem, whenIn: begin });
}

async function begin() {
  api.whenSignedOut(() => {});
  let told;
  try {
    told = await api.get("/v1/session");
  } catch (problem) {
    if (problem.status === 401) signIn(problem.code === "key-missing" ? null : problem);
    else await filled(document.getElementById("view"), () => Promise.reject(problem));
    return;
  }
  api.useCsrfToken(told.csrf_token);
  api.whenSignedOut(signIn);
  session.role = told.role;
  session.name = told.name;
  drawWho(told);
  session.tenant = null;
  try {
    await loadTenants();
  } catch (problem) {
    await filled(document.getElementById("view"), () => Promise.reject(problem));
    return;
  }
  if (may("operate")) live.start();
  await show({ movesFocus: false });
}

window.addEventListener("hashchange", () => {
  endProblems();
  if (document.getElementById("sections").children.length) show();
});
begin();
