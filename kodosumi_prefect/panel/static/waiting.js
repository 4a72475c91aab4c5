// Open questions: new ones come on top, answered ones close, and nothing that is typed is touched.
import { announce, ask } from "./frame.js";
import { bringToLife, closeCard, fetchCard } from "./questions.js";
import { localise } from "./time.js";

const PAUSE = 4000; // ms between questions to the panel
const LONGEST = 30000; // ms between them while the panel does not answer

const list = document.getElementById("locks");
const root = document.body.dataset.root;
let pause = PAUSE;

function visible() {
  return new Map([...list.querySelectorAll("[data-lock]")].map((each) => [each.dataset.lock, each]));
}

async function add(names) {
  let added = 0;
  for (const name of names.reverse()) {
    const fresh = await fetchCard(root, name);
    if (!fresh || "closed" in fresh.dataset || visible().has(name)) continue;
    fresh.classList.add("new");
    // What stands below moves down; keep what people look at where it is.
    const before = list.scrollHeight;
    list.prepend(fresh);
    if (scrollY > 120 && !CSS.supports("overflow-anchor", "auto")) scrollBy(0, list.scrollHeight - before);
    bringToLife(fresh);
    added += 1;
  }
  if (added) announce(added === 1 ? "A new question waits for you." : `${added} new questions wait for you.`);
}

async function look() {
  if (document.hidden) return;
  const answer = await ask(`${root}waiting/open${"mine" in list.dataset ? "?mine=true" : ""}`);
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
    if (!("closed" in each.dataset) && !open.includes(name)) await closeCard(root, name, each);
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

localise(document);
setTimeout(run, PAUSE);
