// The list of executions: asks what changed and takes new rows from the server.
import { ask } from "./frame.js";
import { clockText, localise, tick } from "./time.js";

const PAUSE = 2000; // ms between questions
const LONGEST = 15000; // ms between questions while the panel does not answer
const AGEING = 15000; // ms between looks for rows that are older by now than the filter lets through

const root = document.body.dataset.root;
const table = document.getElementById("list");
const body = table.tBodies[0];
const live = document.getElementById("live");
const fresh = document.getElementById("fresh");
const filter = new URLSearchParams(table.dataset.filter);
const first = "first" in table.dataset;
const loaded = table.dataset.now;
const coming = new Set(); // new executions that are not shown yet
let counter = table.dataset.counter;
let pause = PAUSE;
let drawn = Date.now();

function say(state, text) {
  if (live.textContent !== text) live.textContent = text;
  live.dataset.state = state;
}

const zoneName = Intl.DateTimeFormat().resolvedOptions().timeZone;
const shortTime = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const shortDate = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", year: "numeric" });
const zoneOf = (date) => new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(date).find((part) => part.type === "timeZoneName").value;

/** Times as a list has room for, in the reader's zone, which the heading names. */
function localiseRows(element) {
  localise(element);
  const now = new Date();
  for (const time of element.querySelectorAll("time[data-brief]")) {
    const date = new Date(time.dateTime);
    const today = date.toDateString() === now.toDateString();
    const near = date.getFullYear() === now.getFullYear() ? shortTime.format(date).replace(",", "") : shortDate.format(date).replace(",", "");
    time.textContent = today ? clockText(date) : near;
    time.title = date.toString();
  }
}

/** Whether rows may come and go without pulling away what somebody looks at or has selected. */
function still() {
  return first && window.scrollY < 200 && !body.querySelector("input:checked, details[open]") && !document.querySelector("dialog[open]");
}

async function fetched() {
  const address = new URL(location.href);
  address.searchParams.set("fragment", "true");
  const answer = await ask(address);
  if (!answer.ok) throw new Error(answer.statusText);
  const part = document.createElement("tbody");
  part.innerHTML = await answer.text();
  localiseRows(part);
  return part;
}

function bars() {
  const rects = [...body.querySelectorAll("rect[data-seconds]")];
  const spans = rects.map((rect) => (rect.dataset.begun ? (Date.now() - Date.parse(rect.dataset.begun)) / 1000 : Number(rect.dataset.seconds)));
  const longest = Math.max(...spans, 0.001);
  rects.forEach((rect, n) => rect.setAttribute("width", String(Math.max(0, (100 * spans[n]) / longest))));
}

// What somebody ticked or opened stays so.
const kept = { callbacks: { beforeAttributeUpdated: (name) => name !== "checked" && name !== "open" } };

/** The line below a row, which says why it failed or was cancelled. */
function explain(row, part) {
  const name = `w-${row.dataset.fid}`;
  document.getElementById(name)?.remove();
  const why = part.querySelector(`#${CSS.escape(name)}`);
  if (why) row.after(why);
}

/** Put what changed into the page: all of it, or, so that nothing moves, only into rows shown. */
async function changed(changes) {
  const part = await fetched();
  if (still()) {
    window.Idiomorph.morph(body, part.innerHTML, { morphStyle: "innerHTML", ignoreActiveValue: true, ...kept });
    coming.clear();
  } else {
    for (const row of body.querySelectorAll("tr[data-fid]")) {
      const now = part.querySelector(`#${CSS.escape(row.id)}`);
      const checked = row.querySelector("input").checked;
      if (now) {
        row.classList.remove("gone");
        window.Idiomorph.morph(row, now.outerHTML, kept);
        row.querySelector("input").checked = checked;
        explain(row, part);
      } else if (changes.delete.includes(row.dataset.fid)) {
        row.classList.add("gone");
      }
    }
    for (const fid of changes.new) if (!document.getElementById(`e-${fid}`)) coming.add(fid);
    for (const fid of changes.delete) coming.delete(fid);
  }
  drawn = Date.now();
  fresh.hidden = coming.size === 0;
  fresh.firstElementChild.textContent = `${coming.size} new`;
  bars();
  document.dispatchEvent(new Event("kodosumi:rows"));
}

async function question() {
  if (document.hidden) return;
  const query = new URLSearchParams(filter);
  query.set("since", counter);
  query.set("loaded", loaded);
  const answer = await ask(`${root}executions/changes?${query}`);
  if (!answer.ok) throw new Error(answer.statusText);
  const changes = await answer.json();
  // A row that goes because time passes is no change that the server could tell.
  const aged = filter.has("last") && still() && Date.now() - drawn > AGEING;
  // Nor is one that had to wait while a dialog was open or rows were selected.
  const owed = still() && (coming.size > 0 || body.querySelector("tr.gone") !== null);
  if (changes.update.length || changes.delete.length || aged || owed) await changed(changes);
  counter = changes.timestamp;
  say("live", "Live");
  pause = PAUSE;
}

async function run() {
  try {
    await question();
  } catch {
    say("away", "Not live, retrying");
    pause = Math.min(pause * 2, LONGEST);
  }
  setTimeout(run, pause);
}

// The filter: times are typed in the reader's zone and travel in UTC; empty fields stay at home.
const form = document.getElementById("filters");
for (const input of form.querySelectorAll("input[data-iso]")) {
  const text = input.dataset.iso;
  if (!text) continue;
  const date = new Date(/Z|[+-]\d\d:?\d\d$/.test(text) ? text : `${text}Z`);
  if (!Number.isNaN(date.getTime())) input.value = new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}
form.addEventListener("formdata", (event) => {
  const data = event.formData;
  for (const [name, value] of [...data]) {
    if (value === "") data.delete(name);
    else if (name === "from" || name === "to") data.set(name, new Date(value).toISOString());
  }
  // Days and nights are the reader's.
  if (["today", "night", "yesterday"].includes(data.get("last")) || /\b(night|yesterday|today)\b/i.test(data.get("q") ?? "")) data.set("zone", zoneName);
  else data.delete("zone");
});
for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => form.requestSubmit());
document.addEventListener("click", (event) => {
  for (const pick of document.querySelectorAll("details.pick[open], details.rest[open]")) if (!pick.contains(event.target)) pick.open = false;
});
for (const pick of form.querySelectorAll("details.pick")) {
  pick.addEventListener("toggle", () => pick.open && pick.lastElementChild.scrollIntoView({ block: "nearest" }));
}
document.getElementById("content").addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && event.target.closest("details.pick[open], details.rest[open]");
  if (!open) return;
  event.preventDefault(); // the sheet around it stays
  open.open = false;
  open.querySelector("summary").focus();
});

// How high rows are: at once, and for the next time in the cookie that the link sets.
const rows = document.getElementById("rows");
rows.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const comfortable = table.classList.toggle("comfortable");
  ask(rows.href);
  const next = new URL(rows.href);
  next.searchParams.set("rows", comfortable ? "compact" : "comfortable");
  rows.href = next;
  rows.textContent = comfortable ? "One line a row" : "Comfortable rows";
});

document.querySelector("[data-zone]").textContent = zoneOf(new Date());
localiseRows(document);
tick();
setInterval(() => document.hidden || bars(), 1000);
run();
