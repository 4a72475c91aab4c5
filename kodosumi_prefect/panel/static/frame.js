// What every page does: tell of a lost session or panel, count what waits, close open menus.
import "./fields.js";
import "./focus.js";
import "./keys.js";

const root = document.body.dataset.root;
const notices = document.getElementById("notices");
const title = document.title;

/** Tell people something at the top of the page; `name` tells apart what is said once. */
export function notice(name, text, link) {
  let bar = notices.querySelector(`[data-name="${name}"]`);
  if (bar) return bar;
  bar = document.createElement("p");
  bar.className = "notice";
  bar.dataset.name = name;
  bar.append(text);
  if (link) {
    const anchor = document.createElement("a");
    Object.assign(anchor, { href: link.href, textContent: link.text, target: "_blank" });
    bar.append(anchor);
  }
  notices.append(bar);
  return bar;
}

/** Take back what `notice` told. */
export function settled(name) {
  notices.querySelector(`[data-name="${name}"]`)?.remove();
}

/** The session is over: say so, and leave the page as it stands. */
export function signedOut() {
  const back = encodeURIComponent(`${root}account`);
  notice("session", "Your session has ended. What you typed here is kept.", {
    href: `${root}login?redirect=${back}`,
    text: "Sign in again in a new tab, then go on here",
  });
}

/** Like `fetch`; a lost session or panel is told at the top of the page. */
export async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (problem) {
    notice("panel", "The panel does not answer. Trying again.");
    throw problem;
  }
  settled("panel");
  if (answer.status === 401) signedOut();
  else settled("session");
  return answer;
}

/** A key of a launch: asked for again with the same one, the panel launches once. */
export function freshKey() {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("announce").textContent = text;
}

document.addEventListener("htmx:responseError", (event) => {
  const { status, responseText } = event.detail.xhr;
  if (status === 401) return signedOut();
  let detail = "";
  try {
    detail = JSON.parse(responseText).detail;
  } catch {
    // Not from the panel itself, but from something in front of it.
  }
  settled("refused");
  notice("refused", detail || `The panel answers ${status}.`);
});
// A page that is being left still hears of the requests which that cuts off; a download leaves none.
const LEAVING = 3000; // milliseconds
let leftAt = -Infinity;
addEventListener("beforeunload", () => {
  leftAt = performance.now();
});
document.addEventListener("htmx:sendError", () => {
  if (performance.now() - leftAt < LEAVING) return;
  notice("panel", "The panel does not answer. Trying again.");
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (!event.detail.xhr?.status) return;
  settled("panel");
  if (event.detail.successful) {
    settled("session");
    // The count in the bar asks by itself; only what people did settles a refusal.
    if (event.detail.elt.id !== "waiting-count") settled("refused");
  }
});
document.addEventListener("htmx:afterSwap", (event) => {
  if (event.target.id !== "waiting-count") return;
  const count = event.target.textContent.trim();
  document.title = count ? `(${count}) ${title}` : title;
  for (const badge of document.querySelectorAll("[data-waiting]")) badge.textContent = count;
});

const menu = document.querySelector("details.me");
document.addEventListener("click", (event) => {
  if (menu?.open && !menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && menu?.open) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
window.addEventListener("focus", () => {
  if (notices.querySelector('[data-name="session"]')) ask(`${root}waiting/count`).catch(() => {});
});
