// Amounts in words, as the server's `amounts.py` and `gantt.py` have them.

export function dollars(cost) {
  if (cost === null) return "";
  if (cost === 0) return "$0";
  if (cost < 0.0001) return "< $0.0001";
  return cost < 0.1 ? `$${cost.toFixed(4)}` : `$${cost.toLocaleString("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export function tokens(count) {
  if (count < 10000) return count.toLocaleString("en");
  if (count < 999500) return `${Number((count / 1000).toPrecision(3))}k`;
  return `${(count / 1e6).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })}M`;
}

/** A short time with as many digits as tell something. */
export function took(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 9.995) return `${seconds.toFixed(2)} s`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

const STEPS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** Marks of an axis of so many seconds: `[share, words]` each, at most `most`. */
export function ticks(seconds, most) {
  const step = STEPS.find((each) => seconds / each <= most) ?? 86400 * Math.ceil(seconds / 86400 / most);
  const marks = [];
  for (let n = 0; n * step < seconds * 0.94; n += 1) marks.push([(n * step) / seconds, n ? took(n * step).replace(/\.0+ s| 0 (s|min)$/, (end) => (end.startsWith(".") ? " s" : "")) : "0"]);
  return marks;
}
