// The API of this service, and nothing else. What goes wrong is a Problem with title, detail and remedy.

let csrfToken = null;
let tenantName = null;
let isHub = false;
let onSignedOut = () => {};

export class Problem extends Error {
  constructor({ code = "unexpected", title, detail = "", remedy = "", status = 0 }) {
    super(detail || title);
    Object.assign(this, { code, title, detail, remedy, status });
  }
}

export function useCsrfToken(token) {
  csrfToken = token;
}

export function useTenant(name, ofHub) {
  tenantName = name;
  isHub = ofHub;
}

export function whenSignedOut(callback) {
  onSignedOut = callback;
}

// Of a path of the API, with what it is asked.
export function addressOf(path, query = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

// What every request bears.
export function headersOf(method) {
  const own = method !== "GET" && csrfToken !== null ? { "X-CSRF-Token": csrfToken } : {};
  return { Accept: "application/json", ...own };
}

// What an answer that is an error says, which may be nothing.
export function problemOf(status, told) {
  const problem = new Problem({ title: `The service answered ${status}`, ...told, status });
  if (status === 401) onSignedOut(problem);
  return problem;
}

async function asked(method, path, { query = {}, body } = {}) {
  const url = addressOf(path, query);
  const headers = headersOf(method);
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch {
    throw new Problem({
      code: "unreachable",
      title: "The service cannot be reached",
      detail: "It has stopped, or the connection to it is broken.",
      remedy: "Start it again with everlearn serve; this page goes on by itself.",
    });
  }
  if (answer.ok) return answer;
  throw problemOf(answer.status, await answer.json().catch(() => ({})));
}

export async function get(path, query) {
  return (await asked("GET", path, { query })).json();
}

export async function getText(path) {
  return (await asked("GET", path)).text();
}

export async function post(path, body) {
  return (await asked("POST", path, { body })).json();
}

export async function patch(path, body) {
  return (await asked("PATCH", path, { body })).json();
}

export async function remove(path) {
  return (await asked("DELETE", path)).json();
}

// The same, about the tenant that is chosen.

export function ofTenant(query = {}) {
  return isHub ? { tenant: tenantName, ...query } : query;
}

export function look(path, query = {}) {
  return get(path, ofTenant(query));
}

export function tell(path, body) {
  return post(path, ofTenant(body));
}
