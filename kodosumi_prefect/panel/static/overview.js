// What stands above the list: counts and runs over time, fetched after the list and kept current.
import { ask } from "./frame.js";
import { clockText } from "./time.js";

const PAUSE = 8000; // ms between two drawings while executions change

const section = document.getElementById("overview");
const day = new Intl.DateTimeFormat("en", { month: "short", day: "numeric" });
let due = null;
let drawnAt = 0;

const moment = (date, seconds) => `${day.format(date)} ${seconds ? clockText(date) : clockText(date).slice(0, 5)}`;

/** Times in the reader's zone, and one stop of the tabulator key for all bars. */
function dress(element) {
  for (const time of element.querySelectorAll("time[data-brief-minute]")) {
    const date = new Date(time.dateTime);
    time.textContent = moment(date, false);
    time.title = date.toString();
  }
  const active = document.activeElement?.id;
  const bars = [...element.querySelectorAll(".bars a")];
  bars.forEach((bar, n) => {
    const [since, until] = [new Date(bar.dataset.from), new Date(bar.dataset.to)];
    const short = until - since < 60000;
    const words = `${moment(since, short)} to ${moment(until, short)}: ${bar.getAttribute("aria-label")}`;
    bar.querySelector("title").textContent = words;
    bar.setAttribute("aria-label", words);
    bar.setAttribute("tabindex", (active && bar.id === active) || n === bars.length - 1 ? "0" : "-1");
  });
}

async function draw() {
  due = null;
  drawnAt = Date.now();
  let answer;
  try {
    answer = await ask(section.dataset.source);
  } catch {
    return again(); // the bar at the top of the page tells of it
  }
  if (!answer.ok) return again();
  const part = document.createElement("section");
  part.innerHTML = await answer.text();
  dress(part);
  window.Idiomorph.morph(section, part.innerHTML, { morphStyle: "innerHTML" });
  section.setAttribute("aria-busy", "false");
  document.dispatchEvent(new Event("kodosumi:overview"));
}

/** Draw soon, however many changes come. */
function again() {
  due ??= setTimeout(draw, Math.max(0, drawnAt + PAUSE - Date.now()));
}

section?.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.(".bars a");
  if (!bar) return;
  const bars = [...section.querySelectorAll(".bars a")];
  const at = bars.indexOf(bar);
  const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
  if (next === undefined || !bars[next]) return;
  event.preventDefault();
  for (const one of bars) one.setAttribute("tabindex", one === bars[next] ? "0" : "-1");
  bars[next].focus();
});
document.addEventListener("kodosumi:rows", () => section && again());

if (section?.getAttribute("aria-busy") === "true") draw();
else if (section) dress(section);
