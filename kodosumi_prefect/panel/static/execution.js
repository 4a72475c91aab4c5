// The live page of one execution: two streams, two panes, and a head the server draws.
import { Pane } from "./pane.js";
import { Stream } from "./stream.js";
import { clockText, localise, tick } from "./time.js";

const LINES = 2000; // log events kept in the page
const CARDS = 300; // results and the like
const HEAD_PAUSE = 150; // ms in which several changes of the head become one request
const REOPENED = 10000; // ms between looks whether a run that was over runs again
const HIDDEN = 20000; // ms after which a hidden tab gives its connections back

const CARD_KINDS = ["agent", "action", "result", "error", "lock", "lease"];
const HEAD_KINDS = ["meta", "inputs", "status", "final", "error"];
const LINE_KINDS = ["stdout", "stderr", "debug", "error", "upload"];

const page = document.getElementById("execution");
const { fid, root } = page.dataset;
const cursor = Number(page.dataset.cursor);
const live = document.getElementById("live");
const head = document.getElementById("head");
const screen = document.getElementById("screen");
const follow = document.getElementById("follow");

// Panes

function element(tag, className, html) {
  const made = document.createElement(tag);
  made.className = className;
  if (html !== undefined) made.innerHTML = html; // escaped and sanitised by the server
  return made;
}

function divider(attempt) {
  const item = element("li", "divider");
  const words = document.createElement("span");
  words.textContent = `Attempt ${attempt}`;
  item.append(words);
  return item;
}

function stamp(ts) {
  const time = document.createElement("time");
  const date = new Date(ts * 1000);
  time.dateTime = date.toISOString();
  time.textContent = clockText(date);
  return time;
}

function line({ kind, ts, html, seq, attempt }) {
  if (attempt) return divider(attempt);
  const item = element("li", `line ${kind}`);
  item.dataset.seq = seq;
  item.append(stamp(ts), element("span", "text", html));
  return item;
}

function card({ kind, ts, html, seq, attempt }) {
  if (attempt) return divider(attempt);
  const item = element("li", `card ${kind}`);
  item.dataset.seq = seq;
  const top = element("p", "kind");
  const name = document.createElement("span");
  name.textContent = kind;
  top.append(name, stamp(ts));
  item.append(top, element("div", "body", html));
  return item;
}

const output = new Pane(document.getElementById("output"), document.getElementById("output-earlier"), CARDS, card);
const log = new Pane(document.getElementById("log"), document.getElementById("log-earlier"), LINES, line);
for (const pane of [output, log]) pane.loaded = (items) => items.forEach(localise);

// Following the log's end

let following = true;
let lastTop = 0;
function toEnd() {
  if (following) screen.scrollTop = screen.scrollHeight;
}
function setFollowing(value) {
  following = value;
  follow.setAttribute("aria-pressed", String(value));
  if (value) {
    log.limit = LINES;
    log.trim(false);
    toEnd();
  }
}
log.after = toEnd;
follow.hidden = false;
follow.addEventListener("click", () => setFollowing(!following));
screen.addEventListener("scroll", () => {
  const rest = screen.scrollHeight - screen.scrollTop - screen.clientHeight;
  if (following && screen.scrollTop < lastTop && rest > 40) setFollowing(false);
  else if (!following && rest < 4 && screen.scrollTop > lastTop) setFollowing(true);
  lastTop = screen.scrollTop;
}, { passive: true });

// The head

let headTimer = null;
let { status, attempt } = document.getElementById("summary").dataset;
attempt = Number(attempt);
const drawn = new Map();
for (const part of head.children) drawn.set(part.id, null);

function refreshHead() {
  clearTimeout(headTimer);
  headTimer = setTimeout(drawHead, HEAD_PAUSE);
}

async function drawHead() {
  let answer;
  try {
    answer = await fetch(`${root}executions/${fid}/head`);
    if (answer.status === 401) return location.reload(); // to the sign-in page
    if (!answer.ok) throw new Error(answer.statusText);
  } catch {
    headTimer = setTimeout(drawHead, 2000);
    return;
  }
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  for (const part of [...holder.content.children]) {
    const html = part.outerHTML;
    if (drawn.get(part.id) === html) continue;
    drawn.set(part.id, html);
    const old = document.getElementById(part.id);
    const open = [...old.querySelectorAll("details[open] > summary")].map((s) => s.textContent);
    localise(part);
    for (const summary of part.querySelectorAll("details > summary")) {
      summary.parentElement.open = open.includes(summary.textContent);
    }
    old.replaceWith(part);
  }
  const summary = document.getElementById("summary").dataset;
  if (summary.status !== status) {
    status = summary.status;
    document.getElementById("announce").textContent = `The execution is ${status}`;
  }
  const now = Number(summary.attempt);
  if (now > attempt) {
    attempt = now;
    if (now > 1) for (const pane of [output, log]) pane.add({ attempt: now });
  }
}

// Streams

const streams = [
  new Stream(`${root}outputs/main/${fid}`, cursor, [...CARD_KINDS, ...HEAD_KINDS.filter((k) => k !== "error"), "progress"], {
    event(kind, ts, html, seq) {
      if (kind === "progress") document.getElementById("progress").innerHTML = html;
      if (CARD_KINDS.includes(kind)) output.add({ kind, ts, html, seq });
      if (HEAD_KINDS.includes(kind)) refreshHead();
    },
    reset() {
      output.clear();
      refreshHead();
    },
    ended: settle,
    state: settle,
  }),
  new Stream(`${root}outputs/stdio/${fid}`, cursor, LINE_KINDS, {
    event: (kind, ts, html, seq) => log.add({ kind, ts, html, seq }),
    reset: () => log.clear(),
    ended: settle,
    state: settle,
  }),
];

function say(state, text) {
  live.dataset.state = state;
  if (live.textContent !== text) live.textContent = text;
}

function settle() {
  if (streams.every((stream) => stream.over)) {
    say("over", "Complete");
    follow.hidden = true;
    refreshHead();
    setTimeout(lookAgain, REOPENED);
  } else if (streams.every((stream) => stream.over || stream.source?.readyState === EventSource.OPEN)) {
    say("live", "Live");
  } else {
    say("away", "Reconnecting");
  }
}

async function lookAgain() {
  if (!document.hidden) {
    try {
      const answer = await fetch(`${root}outputs/status/${fid}`);
      if (answer.status === 401) return location.reload();
      const { status } = await answer.json();
      if (answer.ok && status !== "finished" && status !== "error") {
        streams.forEach((stream) => stream.resume());
        follow.hidden = false;
        return;
      }
    } catch {
      // The panel is away; the next look may find it.
    }
  }
  setTimeout(lookAgain, REOPENED);
}

let hiddenTimer = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => streams.forEach((stream) => stream.close()), HIDDEN);
  } else {
    streams.forEach((stream) => stream.open());
  }
});

localise(document);
tick();
toEnd();
say("away", "Connecting");
streams.forEach((stream) => stream.open());
