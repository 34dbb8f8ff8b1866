// Numbers and times, as the reader's language writes them.

const LANGUAGES = navigator.languages;
const WHOLE = new Intl.NumberFormat(LANGUAGES, { maximumFractionDigits: 0 });
const COMPACT = new Intl.NumberFormat(LANGUAGES, { notation: "compact", maximumFractionDigits: 1 });
const PLAIN = new Intl.NumberFormat(LANGUAGES, { maximumSignificantDigits: 3 });
const SHARE = new Intl.NumberFormat(LANGUAGES, {
  style: "percent",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});
const WHOLE_SHARE = new Intl.NumberFormat(LANGUAGES, { style: "percent", maximumFractionDigits: 0 });
const TIME = new Intl.DateTimeFormat(LANGUAGES, { dateStyle: "medium", timeStyle: "short" });
const CLOCK = new Intl.DateTimeFormat(LANGUAGES, { timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(LANGUAGES, { month: "short", day: "numeric" });
const HOUR = new Intl.DateTimeFormat(LANGUAGES, { hour: "2-digit", minute: "2-digit" });
const AGO = new Intl.RelativeTimeFormat(LANGUAGES, { numeric: "auto" });
const PLURAL = new Intl.PluralRules("en");

const NONE = "–";

function told(value, format) {
  return value === null || value === undefined || Number.isNaN(value) ? NONE : format.format(value);
}

const POINTS = new Intl.NumberFormat(LANGUAGES, {
  signDisplay: "exceptZero",
  minimumFractionDigits: 1,
  maximumFractionDigits: 1,
});

export const whole = (value) => told(value, WHOLE);
export const compact = (value) => told(value, COMPACT);
export const number = (value) => told(value, PLAIN);
export const share = (value) => told(value, SHARE);
export const wholeShare = (value) => told(value, WHOLE_SHARE);

// A difference of two shares, in percentage points.
export const points = (value) =>
  value === null || value === undefined ? NONE : `${POINTS.format(100 * value)} points`;

export function counted(count, one, many = `${one}s`) {
  return `${whole(count)} ${PLURAL.select(count) === "one" ? one : many}`;
}

export function bytes(count) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(1, count)) / 3)));
  return new Intl.NumberFormat(LANGUAGES, {
    style: "unit",
    unit: units[power],
    maximumFractionDigits: power === 3 ? 2 : 0,
  }).format(count / 1000 ** power);
}

export function time(value) {
  return value ? TIME.format(new Date(value)) : NONE;
}

export const clock = (value) => CLOCK.format(new Date(value));

export function axisTime(value, span) {
  return (span > 2 * 86_400_000 ? DAY : span > 600_000 ? HOUR : CLOCK).format(new Date(value));
}

const STEPS = [
  ["second", 60],
  ["minute", 60],
  ["hour", 24],
  ["day", 30],
  ["month", 12],
  ["year", Infinity],
];

export function ago(value) {
  let amount = (new Date(value) - Date.now()) / 1000;
  for (const [unit, most] of STEPS) {
    if (Math.abs(amount) < most) return AGO.format(Math.round(amount), unit);
    amount /= most;
  }
  return time(value);
}

export const steps = (first, last) =>
  first === last ? `step ${whole(last)}` : `steps ${whole(first)} to ${whole(last)}`;

export const shortHash = (hash) => (hash ? hash.slice(0, 10) : NONE);

// A score's name, as people say it.
export function scoreName(name) {
  const spoken = name.replaceAll("_", " ");
  return spoken[0].toUpperCase() + spoken.slice(1);
}

// A target that is a set of labels is written as a JSON list.
export function target(value) {
  if (value === null || value === undefined) return NONE;
  if (value.startsWith("[")) {
    try {
      const labels = JSON.parse(value);
      if (Array.isArray(labels)) return labels.join(", ") || "no label";
    } catch {
      return value;
    }
  }
  return value;
}
