// List items of live events, as the server draws them in `_events.html`.
import { clockText, durationText, offsetText, stampText } from "./time.js";

function element(tag, className, html) {
  const element = document.createElement(tag);
  element.className = className;
  if (html !== undefined) element.innerHTML = html; // escaped and sanitised by the server
  return element;
}

function divider(attempt) {
  const item = element("li", "divider");
  const words = document.createElement("span");
  words.textContent = `Attempt ${attempt}`;
  item.append(words);
  return item;
}

function stamp(ts, words = clockText) {
  const time = document.createElement("time");
  const date = new Date(ts * 1000);
  time.dateTime = date.toISOString();
  time.textContent = words(date);
  return time;
}

// What stands in the column of levels for what was not logged.
const LEVELS = { stdout: "out", stderr: "err", error: "ERROR", upload: "upload" };
const WORDS = { lock: "question", lease: "answer", upload: "files" }; // of kinds, for people
const TRACEBACK = "Traceback (most recent call last):";

function column(className, text) {
  const span = element("span", className);
  span.textContent = text;
  return span;
}

/** The words of the server's `upload_line`, of the list that its `upload_html` makes. */
function uploaded(items) {
  const words = (some) => some.map((one) => one.textContent.replace(/ (\S+ [kMGT]?B)$/, " ($1)")).join(", ");
  const gone = items.filter((one) => one.matches(".gone"));
  gone.forEach((one) => one.querySelector("span").remove());
  const here = items.filter((one) => !gone.includes(one));
  return [here.length && `uploaded ${words(here)}`, gone.length && `removed ${words(gone)}`].filter(Boolean).join("; ");
}

/** A line of the log. */
export function line({ kind, ts, html, seq, attempt }) {
  if (attempt) return divider(attempt);
  const item = element("li", `line ${kind}`);
  item.dataset.seq = seq;
  item.dataset.at = ts;
  const text = element("span", "text", html);
  const [from, logged] = [".from", ".level"].map((name) => text.querySelector(`:scope > ${name}`));
  text.querySelector(":scope > .said")?.remove();
  const made = text.querySelector(":scope > .made"); // which is a list of links in the output
  if (made) made.replaceWith(uploaded([...made.children]));
  logged?.remove();
  if (kind === "error" || text.textContent.includes(TRACEBACK)) item.classList.add("trace");
  const time = element("a", "at");
  Object.assign(time, { href: `?tab=log&line=${seq}#found`, tabIndex: -1 });
  time.append(stamp(ts, stampText));
  const began = Number(document.getElementById("summary").dataset.began);
  const level = column("level", logged?.textContent ?? LEVELS[kind] ?? "");
  level.dataset.level = level.textContent;
  if (from) from.title = from.textContent;
  item.append(time, column("offset", offsetText(ts - began)), level, from ?? element("span", "nobody"), text);
  return item;
}

/** A result, or a step on the way to one. */
export function card({ kind, ts, html, seq, attempt }) {
  if (attempt) return divider(attempt);
  const item = element("li", `card ${kind}`);
  item.dataset.seq = seq;
  item.dataset.at = ts;
  const top = element("p", "kind");
  const name = document.createElement("span");
  name.textContent = WORDS[kind] ?? kind;
  top.append(name, stamp(ts));
  const body = element("div", "body", html);
  for (const part of body.querySelectorAll(":scope > :is(.from, .level)")) part.remove(); // which lines have
  if (kind === "error") fold(body);
  item.append(top, body);
  return item;
}

/** A step of a run: as `card`, but an answer goes into the card of its question, if that is there. */
export function step(event) {
  const item = card(event);
  const answer = item.querySelector(":scope > .body > .settled");
  if (!answer) return item;
  const asked = [...document.querySelectorAll("#steps-list .asked")].find((one) => one.dataset.lid === answer.dataset.lid);
  if (!asked) return item;
  const outcome = asked.querySelector(".outcome");
  outcome.replaceChildren(", ", ...answer.querySelector(".how").childNodes);
  const after = outcome.querySelector(".after");
  const seconds = event.ts - Date.parse(asked.closest("li").querySelector("time").dateTime) / 1000;
  if (after) after.textContent = ` after ${durationText(Math.max(seconds, 0))}`;
  const given = answer.nextElementSibling;
  if (given) asked.parentElement.append(given);
  return null;
}

/** Of a traceback only what the error says is shown at first. */
function fold(body) {
  const errorLine = body.querySelector(":scope > .said");
  errorLine?.remove();
  const details = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = errorLine?.textContent || "error";
  details.append(summary, ...body.childNodes);
  body.replaceChildren(details);
}
