// The live page of one execution: one stream, a pane for each tab, and a head the server draws.
import { announce, ask } from "./frame.js";
import { acts, copies } from "./execution-acts.js";
import { card, line, step } from "./execution-items.js";
import { tools } from "./execution-tools.js";
import { refocus } from "./focus.js";
import { Pane } from "./pane.js";
import { Stream } from "./stream.js";
import { Questions } from "./questions.js";
import { tabs } from "./tabs.js";
import { localise, tick } from "./time.js";
import { Trace } from "./trace.js";

const LINES = 2000; // log events kept in the page
const TAIL = 200; // likewise beside the output
const EVENTS = 1000; // likewise of the raw ones
const CARDS = 300; // results and the like
const HEAD_PAUSE = 150; // ms in which several changes of the head become one request
const FILES_PAUSE = 500; // ms in which several uploads become one look at the files
const REOPENED = 10000; // ms between looks whether a run that was over runs again
const RETRIED = 1000; // ms likewise once it was told to
const RETRIES = 120000; // ms for which it is looked for so often
const HIDDEN = 20000; // ms after which a hidden page gives its connection back

const KINDS = {
  output: ["result", "upload"],
  steps: ["agent", "action", "result", "lock", "lease", "error"],
  log: ["stdout", "stderr", "debug", "error", "upload"],
  tail: ["stdout", "stderr", "debug", "error", "upload"],
};
const HEAD_KINDS = ["meta", "inputs", "status", "final", "error", "lock", "lease", "upload"];
const ALL = [...new Set([...Object.values(KINDS).flat(), ...HEAD_KINDS, "progress", "span"])];

const page = document.getElementById("execution");
const { fid, root } = page.dataset;
const here = `${root}executions/${fid}`;
const cursor = Number(page.dataset.cursor);
const live = document.getElementById("live");
const byId = (id) => document.getElementById(id);

// Panes

function pane(name, limit, build) {
  const pane = new Pane({
    list: byId(`${name}-list`),
    address: `${here}/${name}`,
    limit,
    build,
    screen: byId(`${name}-screen`),
    follow: byId(`${name}-follow`),
    newest: cursor,
  });
  pane.localise = localise;
  return pane;
}

const panes = {
  output: pane("output", CARDS, card),
  steps: pane("steps", CARDS, step),
  log: pane("log", LINES, line),
  tail: pane("tail", TAIL, line),
  raw: pane("raw", EVENTS),
};
const { shows } = tools(panes, here);
const trace = new Trace(page, here);
const questions = new Questions(byId("questions"), root, fid);

let failed = null; // the error of the newest attempt, which the head shows

function brought(kind, ts, html, seq) {
  if (kind === "error") failed = { kind, ts, html, seq };
  if (kind === "status" && html !== "error" && failed) {
    panes.output.add(failed); // there is a further attempt, whose head it is now
    failed = null;
  }
  for (const [name, kinds] of Object.entries(KINDS)) {
    if (kinds.includes(kind) && shows(name, kind)) {
      const narrowed = ["task_run", "subflow"].some((key) => panes[name].filter.has(key));
      if (narrowed) panes[name].announce(seq);
      else panes[name].add({ kind, ts, html, seq });
    }
  }
  if (shows("raw", kind)) panes.raw.announce(seq);
  if (kind === "span" || KINDS.steps.includes(kind) || KINDS.log.includes(kind)) trace.changed(kind, seq);
  doing(kind, html);
  if (kind === "progress") {
    byId("progress").innerHTML = html;
    drawn.delete("progress");
  }
  if (kind === "lock" || kind === "lease") document.body.dispatchEvent(new Event("kodosumi:waiting"));
  if (kind === "upload") refreshFiles();
  if (HEAD_KINDS.includes(kind)) refreshHead();
}

let filesTimer = null;

/** Draw the list of files anew where somebody looks at it, unless they are choosing among them. */
function refreshFiles() {
  clearTimeout(filesTimer);
  filesTimer = setTimeout(() => {
    const files = byId("files");
    if (files.querySelector(":checked") || files.contains(document.activeElement)) return;
    stale = !files.offsetParent;
    if (!stale) files.dispatchEvent(new Event("kodosumi:files"));
  }, FILES_PAUSE);
}

let stale = false; // the list of files, which nobody looks at

/** What it does now, in one line: the words of the server's `plain_line`. */
function doing(kind, html) {
  const of = byId("step").querySelector(".words");
  if (!of || !["agent", "action", "debug"].includes(kind)) return;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const task = holder.content.querySelector(":scope > .from");
  for (const part of holder.content.querySelectorAll(":scope > :is(.from, .level)")) part.remove();
  holder.innerHTML = holder.innerHTML.slice(0, 3200).replace(/<[^>]*>/g, " ");
  drawn.delete("step");
  const words = holder.content.textContent.split(/\s+/).filter(Boolean).join(" ");
  if (kind === "debug" && !(task && words.startsWith("task "))) return;
  of.textContent = kind === "debug" ? words.slice(5) : words;
  of.previousElementSibling.textContent = kind === "debug" ? "task" : kind;
}

// The head

let headTimer = null;
let { status, attempt } = byId("summary").dataset;
attempt = Number(attempt);
let boxed = status === "error"; // the head shows an error that the stream did not bring
const drawn = new Map();

function refreshHead() {
  clearTimeout(headTimer);
  headTimer = setTimeout(drawHead, HEAD_PAUSE);
}

async function drawHead() {
  let answer;
  try {
    answer = await ask(`${here}/head`);
  } catch {
    headTimer = setTimeout(drawHead, 2000);
    return;
  }
  if (!answer.ok) return; // signed out, or deleted meanwhile: what is on screen stays
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  for (const part of [...holder.content.children]) {
    const html = part.outerHTML;
    if (drawn.get(part.id) === html) continue;
    drawn.set(part.id, html);
    localise(part);
    // What is open stays open, and the focus where it is.
    const beforeAttributeUpdated = (name) => name !== "open" && name !== "tabindex";
    Idiomorph.morph(byId(part.id), part, { callbacks: { beforeAttributeUpdated } });
  }
  refocus();
  const summary = byId("summary").dataset;
  questions.follow(summary.locks.split(" ").filter(Boolean));
  if (summary.status !== status) {
    status = summary.status;
    announce(`The execution is ${status}`);
  }
  byId("files-count").textContent = summary.files;
  if (boxed && status !== "error") {
    boxed = false;
    if (panes.output.loaded && panes.output.atEnd) await panes.output.load({});
  }
  const now = Number(summary.attempt);
  if (now > attempt) {
    attempt = now;
    if (now > 1) for (const pane of Object.keys(KINDS).map((name) => panes[name])) pane.divide(now);
    retriedAt = -Infinity;
  }
}

// The stream

const stream = new Stream(`${here}/live`, cursor, ALL, {
  event: brought,
  reset() {
    Object.values(panes).forEach((each) => each.clear());
    trace.clear();
    refreshHead();
  },
  ended: settle,
  state(connected) {
    settle();
    // An EventSource does not tell why it broke off; a request tells of a session that is over.
    if (!connected) refreshHead();
  },
});

function say(state, text) {
  live.dataset.state = state;
  if (live.textContent !== text) live.textContent = text;
}

function settle() {
  if (stream.over) {
    say("over", "Complete");
    refreshHead();
    trace.settle();
    lookLater();
  } else if (stream.source?.readyState === EventSource.OPEN) {
    say("live", "Live");
  } else {
    say("away", "Reconnecting");
  }
}

let lookTimer = null;
let retriedAt = -Infinity;

function lookLater() {
  clearTimeout(lookTimer);
  lookTimer = setTimeout(lookAgain, performance.now() - retriedAt < RETRIES ? RETRIED : REOPENED);
}

async function lookAgain() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`${root}outputs/status/${fid}`);
      const { status } = await answer.json();
      if (answer.ok && status !== "finished" && status !== "error") return stream.resume();
    } catch {
      // The panel is away; the next look may find it.
    }
  }
  lookLater();
}

let hiddenTimer = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => stream.close(), HIDDEN);
  else stream.open();
});

localise(document);
tick();
acts(page, root, (name) => {
  if (name === "retry") {
    retriedAt = performance.now();
    announce("The execution is retried");
    if (stream.over) lookLater();
  }
  refreshHead(); // which tells that it is being cancelled
});
copies(byId("raw-list"), `${root}outputs/events/${fid}`);
tabs(byId("tabs"), (name) => {
  panes[name]?.revealed();
  if (name === "output") panes.tail.revealed();
  if (name === "trace") trace.revealed();
  if (name === "trace" && trace.view === "steps") panes.steps.revealed();
  if (name === "tasks") byId("tasks").dispatchEvent(new Event("kodosumi:shown"));
  if (name === "files") byId("files").dispatchEvent(new Event(stale ? "kodosumi:files" : "kodosumi:shown"));
  stale = false;
});
page.addEventListener("kodosumi:trace", ({ detail }) => detail === "steps" && panes.steps.revealed());
say("away", "Connecting");
stream.open();
