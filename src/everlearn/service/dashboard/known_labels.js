// The labels that are known, most frequent first, for the fields that propose them.

import { look } from "./api.js";

let known = [];

export const labels = () => known;

export async function refresh() {
  known = (await look("/v1/labels")).labels.map(({ label, examples }) => ({ label, examples }));
  return known;
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
