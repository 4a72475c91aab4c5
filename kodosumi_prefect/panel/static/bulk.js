// Doing something to many executions: what is selected, or all that the filter matches.
import { announce, ask, freshKey } from "./frame.js";

const CHUNK = 20; // executions of one request, as the panel has it
const TRIES = 3; // of a request whose answer is lost, if it names its executions
const PAUSE = 1000; // milliseconds between them
const WORDS = {
  cancel: { go: (n) => `Cancel ${n}`, title: (n) => `Cancel ${n}?`, text: "Prefect is asked to cancel them. What they recorded stays.", done: "cancelled" },
  archive: { go: (n) => `Archive ${n}`, title: (n) => `Archive ${n}?`, text: "What still runs is cancelled first. They leave all lists; their records stay.", done: "archived" },
  again: { go: (n) => `Run again ${n}`, title: (n) => `Run ${n} again?`, text: "Each is started once more, by you, with the same inputs. Secret inputs are gone: such runs are told of.", done: "started again" },
};

const root = document.body.dataset.root;
const table = document.getElementById("list");
const body = table.tBodies[0];
const bar = document.getElementById("bulk");
const selectionText = document.getElementById("bulk-said");
const every = document.getElementById("every");
const all = bar.querySelector("[data-all]");
const dialog = document.getElementById("sure");
const part = (name) => document.getElementById(`sure-${name}`);
const go = dialog.querySelector("[data-go]");
const stop = dialog.querySelector("[data-stop]");
let total = null; // how many the filter matches, once all of them are selected
let counting = false; // how many the filter matches is being asked
let running = false;
let wish = null;

const boxes = () => [...body.querySelectorAll(".pickone input")];
const chosen = () => boxes().filter((box) => box.checked).map((box) => box.closest("tr").dataset.fid);
const many = (n) => `${n.toLocaleString()} ${n === 1 ? "execution" : "executions"}`;

function show() {
  const count = chosen().length;
  if (count < boxes().length) total = null;
  bar.hidden = count === 0;
  every.checked = count > 0 && count === boxes().length;
  every.indeterminate = count > 0 && count < boxes().length;
  selectionText.textContent = total === null ? `${count} selected` : `All ${total.toLocaleString()} that match selected`;
  for (const button of bar.querySelectorAll("[data-action]")) button.disabled = counting;
  all.hidden = !(every.checked && total === null && document.querySelector('.paging a'));
  const { total: matching, more } = document.querySelector(".counts")?.dataset ?? {};
  all.textContent = `Select all that match${matching ? ` (${Number(matching).toLocaleString()}${more === undefined ? "" : "+"})` : ""}`;
}

body.addEventListener("change", show);
every.addEventListener("change", () => {
  for (const box of boxes()) box.checked = every.checked;
  show();
});
bar.querySelector("[data-none]").addEventListener("click", () => {
  for (const box of boxes()) box.checked = false;
  show();
  every.focus();
});
all.addEventListener("click", async () => {
  if (counting) return;
  counting = true;
  show();
  try {
    const answer = await ask(`${root}executions/count${table.dataset.filter}`);
    if (answer.ok) total = (await answer.json()).count;
  } finally {
    counting = false;
    show();
  }
  if (total !== null) bar.querySelector("[data-none]").focus(); // what was pressed is hidden now
});
document.addEventListener("kodosumi:rows", show);

/** Ask whether it is really wanted: of these, or, with null, of all that a filter matches. */
function question(action, fids, number, filter) {
  const words = WORDS[action];
  wish = { action, fids, number, filter, key: freshKey() };
  part("title").textContent = words.title(many(number));
  part("text").textContent = words.text;
  part("result").replaceChildren();
  part("progress").hidden = true;
  go.hidden = go.disabled = false;
  offerFiles(action, fids);
  go.textContent = words.go(many(number));
  go.classList.toggle("danger", action === "cancel");
  stop.textContent = "Back";
  dialog.showModal();
  stop.focus();
}

/** Let people leave out the files that go along; which these are is said of those that are named. */
async function offerFiles(action, fids) {
  const box = part("files");
  const asking = wish;
  box.querySelector("input").checked = true;
  box.querySelector("span").textContent = "with the files that they were given";
  box.hidden = action !== "again" || fids !== null;
  if (action !== "again" || fids === null) return;
  go.disabled = true;
  const query = new URLSearchParams(fids.map((fid) => ["fid", fid]));
  const answer = await ask(`${root}executions/given?${query}`).catch(() => null);
  if (wish !== asking) return;
  const given = answer?.ok ? await answer.json() : { files: "with the files that they were given" };
  go.disabled = false;
  if (given.files) box.querySelector("span").textContent = given.files;
  box.hidden = !given.files;
}

for (const button of bar.querySelectorAll("[data-action]")) {
  button.addEventListener("click", () => {
    const fids = total === null ? chosen() : null;
    question(button.dataset.action, fids, fids ? fids.length : total, table.dataset.filter);
  });
}
document.getElementById("overview")?.addEventListener("click", (event) => {
  const button = event.target.closest("[data-stop-all]");
  if (button) question("cancel", null, Number(button.dataset.stopAll), button.dataset.filter);
});
document.addEventListener("kodosumi:overview", show);

async function post(query, key, filter) {
  const headers = { "Content-Type": "application/json", "Idempotency-Key": key };
  const options = { method: "POST", headers, body: JSON.stringify(query) };
  for (let tries = 1; ; tries++) {
    let answer;
    try {
      answer = await ask(`${root}executions/bulk${filter}`, options);
    } catch (problem) {
      if (!query.fids || tries === TRIES || !running) throw problem;
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
      continue;
    }
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.detail);
    return body;
  }
}

function tell(words, done, failed, problem) {
  const parts = [`${done} ${words.done}`];
  if (failed.length) parts.push(`${failed.length} could not`);
  if (problem) parts.push(problem);
  const line = document.createElement("p");
  line.textContent = `${parts.join(", ")}${failed.length ? ":" : "."}`;
  const list = document.createElement("ul");
  const reasons = Map.groupBy ? Map.groupBy(failed, (one) => one.why) : new Map(failed.map((one) => [one.why, failed.filter((other) => other.why === one.why)]));
  for (const [why, those] of reasons) {
    const item = document.createElement("li");
    item.textContent = `${those.length === 1 ? those[0].title : `${those.length} of them`}: ${why}`;
    list.append(item);
  }
  part("result").replaceChildren(line, ...(failed.length ? [list] : []));
  announce(line.textContent);
}

go.addEventListener("click", async () => {
  const { action, fids, number, key, filter } = wish;
  const more = action === "again" ? { with_files: part("files").querySelector("input").checked } : {};
  part("files").hidden = true;
  const words = WORDS[action];
  const progress = part("progress");
  let done = 0;
  let problem = "";
  const failed = [];
  running = true;
  go.disabled = true;
  stop.textContent = "Stop";
  progress.hidden = false;
  progress.max = Math.max(number, 1);
  progress.value = 0;
  try {
    let before = null;
    for (let at = 0; running; at += CHUNK) {
      if (fids && at >= fids.length) break;
      const result = await post(fids ? { action, ...more, fids: fids.slice(at, at + CHUNK) } : { action, ...more, before }, key, filter);
      done += result.done;
      failed.push(...result.failed);
      progress.value = done + failed.length;
      before = result.next;
      if (!fids && before === null) break;
    }
    if (!running) problem = "then stopped";
  } catch (error) {
    problem = `then it ended: ${error.message}`;
  }
  running = false;
  progress.hidden = true;
  go.hidden = true;
  stop.textContent = "Close";
  tell(words, done, failed, problem);
  for (const box of boxes()) box.checked = false;
  show();
});
stop.addEventListener("click", () => {
  if (running) running = false;
  else dialog.close();
});
dialog.addEventListener("close", () => bar.hidden && every.focus());
dialog.addEventListener("cancel", (event) => {
  if (running) {
    event.preventDefault();
    running = false;
  }
});

if (every.checked) for (const box of boxes()) box.checked = true; // pressed before this was here
show();
