// Prometheus' text, read back into numbers: [{name, labels, value}].

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function figures(text) {
  const found = [];
  for (const line of text.split("\n")) {
    const parts = line.startsWith("#") ? null : LINE.exec(line);
    if (parts === null) continue;
    const labels = {};
    for (const [, name, value] of (parts[2] ?? "").matchAll(LABEL)) {
      labels[name] = value.replace(/\\(.)/g, (_, one) => (one === "n" ? "\n" : one));
    }
    found.push({ name: parts[1], labels, value: Number(parts[3]) });
  }
  return found;
}

export function total(all, name, wanted = {}) {
  return all
    .filter(
      (one) => one.name === name && Object.entries(wanted).every(([key, value]) => one.labels[key] === value),
    )
    .reduce((sum, one) => sum + one.value, 0);
}
