// The labels that are known, most frequent first, for the fields that propose them.

import { look } from "./api.js";

let known = [];
let coming = Promise.resolve();

export const labels = () => known;

// Resolves when those that were asked for are known, or could not be had, which is told where they were asked.
export const arrived = () => coming;

export function refresh() {
  const asked = look("/v1/labels").then((told) => {
    known = told.labels.map(({ label, examples }) => ({ label, examples }));
    return known;
  });
  coming = asked.catch(() => known);
  return asked;
}

// What is typed, as a target: where examples may have several labels, they are separated by commas.
export function asTarget(typed, isSet) {
  if (!isSet) return typed.trim();
  return typed
    .split(",")
    .map((one) => one.trim())
    .filter(Boolean);
}

export const isSetTarget = (target) => typeof target === "string" && target.startsWith("[");
