// Open questions: new ones come on top, answered ones close, and nothing that is typed is touched.
import { announce, ask } from "./frame.js";
import { localise } from "./time.js";

const PAUSE = 4000; // ms between questions to the panel
const LONGEST = 30000; // ms between them while the panel does not answer

const list = document.getElementById("locks");
const root = document.body.dataset.root;
let pause = PAUSE;

function dirty(card) {
  if (card.querySelector("[data-changed]")) return true;
  return [...card.querySelectorAll("input, textarea, select")].some((field) => {
    if (field.type === "checkbox") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") {
      return [...field.options].some((option) => option.selected !== option.defaultSelected);
    }
    return field.value !== field.defaultValue;
  });
}

async function card(name) {
  const answer = await ask(`${root}waiting/${name}`, { headers: { "HX-Request": "true" } });
  if (!answer.ok) return null;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  return template.content.querySelector(".lock");
}

function visible() {
  return new Map([...list.querySelectorAll("[data-lock]")].map((each) => [each.dataset.lock, each]));
}

async function add(names) {
  let added = 0;
  for (const name of names.reverse()) {
    const fresh = await card(name);
    if (!fresh || "closed" in fresh.dataset || visible().has(name)) continue;
    fresh.classList.add("new");
    // What stands below moves down; keep what people look at where it is.
    const before = list.scrollHeight;
    list.prepend(fresh);
    if (scrollY > 120 && !CSS.supports("overflow-anchor", "auto")) scrollBy(0, list.scrollHeight - before);
    localise(fresh);
    htmx.process(fresh);
    added += 1;
  }
  if (added) announce(added === 1 ? "A new question waits for you." : `${added} new questions wait for you.`);
}

async function close(name, old) {
  const fresh = await card(name);
  if (!fresh || !("closed" in fresh.dataset) || !old.isConnected) return;
  const trouble = old.querySelector(".trouble");
  if (trouble && (dirty(old) || old.contains(document.activeElement))) {
    trouble.textContent = fresh.querySelector("[role=status]").textContent;
    old.dataset.closed = "";
    return;
  }
  localise(fresh);
  old.replaceWith(fresh);
  htmx.process(fresh);
}

async function look() {
  if (document.hidden) return;
  const answer = await ask(`${root}waiting/open`);
  if (!answer.ok) throw new Error(answer.statusText);
  const result = await answer.json();
  const open = result.open.map((pair) => pair.join("/"));
  const here = visible();
  if ("newest" in list.dataset) {
    // Older ones than the last here belong to other pages.
    const last = Math.max(-1, ...open.map((name, at) => (here.has(name) ? at : -1)));
    const fresh = open.slice(0, last < 0 ? 50 : last).filter((name) => !here.has(name));
    await add(fresh);
  }
  if (!result.all) return;
  for (const [name, each] of here) {
    if (!("closed" in each.dataset) && !open.includes(name)) await close(name, each);
  }
}

async function run() {
  try {
    await look();
    pause = PAUSE;
  } catch {
    pause = Math.min(pause * 2, LONGEST);
  }
  setTimeout(run, pause);
}

document.addEventListener("htmx:afterSwap", (event) => localise(event.detail.elt.parentElement ?? document));
document.addEventListener("htmx:afterSettle", (event) => {
  const swapped = event.detail.elt;
  if (!swapped?.matches?.(".lock")) return;
  const wrong = swapped.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
});

localise(document);
setTimeout(run, PAUSE);
