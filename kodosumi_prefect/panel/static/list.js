// The list of executions: asks what changed and takes new rows from the server.
import { localise, tick } from "./time.js";

const PAUSE = 2000; // ms between questions
const LONGEST = 15000; // ms between questions while the panel does not answer

const table = document.getElementById("list");
const body = table.tBodies[0];
const live = document.getElementById("live");
let counter = table.dataset.counter;
let pause = PAUSE;

function say(state, text) {
  if (live.textContent !== text) live.textContent = text;
  live.dataset.state = state;
}

async function rows() {
  const address = new URL(location.href);
  address.searchParams.set("fragment", "true");
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(answer.statusText);
  const focused = document.activeElement?.closest("#list a")?.getAttribute("href");
  body.innerHTML = await answer.text();
  localise(body);
  if (focused) body.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

async function ask() {
  if (document.hidden) return;
  const answer = await fetch(`timeline/changes?since=${counter}&q=${encodeURIComponent(table.dataset.query)}`);
  if (answer.status === 401) return location.reload(); // to the sign-in page
  if (!answer.ok) throw new Error(answer.statusText);
  const found = await answer.json();
  if (found.update.length || found.delete.length) await rows();
  counter = found.timestamp;
  say("live", "Live");
  pause = PAUSE;
}

async function run() {
  try {
    await ask();
  } catch {
    say("away", "Panel does not answer, retrying");
    pause = Math.min(pause * 2, LONGEST);
  }
  setTimeout(run, pause);
}

localise(document);
tick();
run();
