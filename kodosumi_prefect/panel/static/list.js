// The list of executions: asks what changed and takes new rows from the server.
import { ask } from "./frame.js";
import { localise, tick } from "./time.js";

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
const loaded = Number(table.dataset.now) * 1000;
const coming = new Set(); // new executions that are not shown yet
let counter = table.dataset.counter;
let pause = PAUSE;
let drawn = Date.now();

function say(state, text) {
  if (live.textContent !== text) live.textContent = text;
  live.dataset.state = state;
}

/** Whether rows may come and go without pulling away what somebody looks at or has selected. */
function still() {
  return first && window.scrollY < 200 && !body.querySelector("input:checked") && !document.querySelector("dialog[open]");
}

async function fetched() {
  const address = new URL(location.href);
  address.searchParams.set("fragment", "true");
  const answer = await ask(address);
  if (!answer.ok) throw new Error(answer.statusText);
  const part = document.createElement("tbody");
  part.innerHTML = await answer.text();
  localise(part);
  return part;
}

function bars() {
  const rects = [...body.querySelectorAll("rect[data-seconds]")];
  const spans = rects.map((rect) => (rect.dataset.begun ? (Date.now() - Date.parse(rect.dataset.begun)) / 1000 : Number(rect.dataset.seconds)));
  const longest = Math.max(...spans, 0.001);
  rects.forEach((rect, n) => rect.setAttribute("width", String(Math.max(0, (100 * spans[n]) / longest))));
}

/** Put what changed into the page: all of it, or, so that nothing moves, only into rows shown. */
async function changed(changes) {
  const part = await fetched();
  if (still()) {
    const options = { morphStyle: "innerHTML", ignoreActiveValue: true, callbacks: { beforeAttributeUpdated: (name) => name !== "checked" } };
    window.Idiomorph.morph(body, part.innerHTML, options);
    coming.clear();
  } else {
    for (const row of body.querySelectorAll("tr[data-fid]")) {
      const now = part.querySelector(`#${CSS.escape(row.id)}`);
      const checked = row.querySelector("input").checked;
      if (now) {
        row.classList.remove("gone");
        window.Idiomorph.morph(row, now.outerHTML);
        row.querySelector("input").checked = checked;
      } else if (changes.delete.includes(row.dataset.fid)) {
        row.classList.add("gone");
      }
    }
    for (const item of changes.update) {
      if (Date.parse(item.startup) >= loaded && !document.getElementById(`e-${item.fid}`)) coming.add(item.fid);
    }
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
  const answer = await ask(`${root}timeline/changes?${query}`);
  if (!answer.ok) throw new Error(answer.statusText);
  const changes = await answer.json();
  // A row that goes because time passes is no change that the server could tell.
  const aged = filter.has("last") && still() && Date.now() - drawn > AGEING;
  if (changes.update.length || changes.delete.length || aged) await changed(changes);
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
});
for (const select of form.querySelectorAll("select")) select.addEventListener("change", () => form.requestSubmit());
document.addEventListener("click", (event) => {
  for (const pick of form.querySelectorAll("details[open]")) if (!pick.contains(event.target)) pick.open = false;
});
form.addEventListener("keydown", (event) => {
  const open = event.key === "Escape" && event.target.closest("details[open]");
  if (!open) return;
  open.open = false;
  open.querySelector("summary").focus();
});

localise(document);
tick();
setInterval(() => document.hidden || bars(), 1000);
run();
