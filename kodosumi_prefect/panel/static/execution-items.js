// List items of live events, as the server draws them in `_events.html`.
import { clockText } from "./time.js";

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

function stamp(ts) {
  const time = document.createElement("time");
  const date = new Date(ts * 1000);
  time.dateTime = date.toISOString();
  time.textContent = clockText(date);
  return time;
}

/** A line of the log. */
export function line({ kind, ts, html, seq, attempt }) {
  if (attempt) return divider(attempt);
  const item = element("li", `line ${kind}`);
  item.dataset.seq = seq;
  item.dataset.at = ts;
  const text = element("span", "text", html);
  const from = text.querySelector(":scope > .from");
  text.querySelector(":scope > .said")?.remove();
  item.append(stamp(ts), ...(from ? [from] : []), text);
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
  name.textContent = kind;
  top.append(name, stamp(ts));
  const body = element("div", "body", html);
  body.querySelector(":scope > .from")?.remove(); // which lines have
  if (kind === "error") fold(body);
  item.append(top, body);
  return item;
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
