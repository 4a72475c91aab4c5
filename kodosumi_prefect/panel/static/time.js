// Times in the reader's own zone, and durations that count on.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** Time of day of a Date. */
export function clockText(date) {
  return clock.format(date);
}

/** Likewise with milliseconds, as lines of the log have it. */
export function stampText(date) {
  return `${clock.format(date)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** The same words as the server's `offset_words`: `+12.345`, `+1:30.000`. */
export function offsetText(seconds) {
  const sign = seconds < 0 ? "-" : "+";
  const all = Math.round(Math.abs(seconds) * 1000);
  const [hours, minutes] = [Math.floor(all / 3600000), Math.floor(all / 60000) % 60];
  const rest = `${Math.floor((all % 60000) / 1000)}.${String(all % 1000).padStart(3, "0")}`;
  if (!hours && !minutes) return sign + rest;
  const tail = rest.padStart(6, "0");
  return hours ? `${sign}${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${sign}${minutes}:${tail}`;
}

/** The same words as the server's `duration`. */
export function durationText(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** Put every <time> inside `element` into the reader's zone. */
export function localise(element) {
  for (const time of element.querySelectorAll("time[data-clock]")) {
    const text = time.dataset.clock === "ms" ? stampText : clockText;
    time.textContent = text(new Date(time.dateTime));
    time.removeAttribute("data-clock");
  }
  for (const time of element.querySelectorAll("time[data-local]")) {
    const date = new Date(time.dateTime);
    const today = new Date().toDateString() === date.toDateString();
    time.textContent = today ? clockText(date) : `${day.format(date)}, ${clockText(date)}`;
    time.title = date.toString();
  }
}

/** Let durations of what still runs count on, once a second. */
export function tick() {
  setInterval(() => {
    if (document.hidden) return;
    for (const span of document.querySelectorAll("[data-since]")) {
      const seconds = (Date.now() - Date.parse(span.dataset.since)) / 1000;
      span.textContent = durationText(seconds < 10 ? Math.floor(seconds * 10) / 10 : seconds);
    }
  }, 1000);
}
