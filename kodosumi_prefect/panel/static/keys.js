// Keys of one letter: where to go, and what to do with a row, a run or a service.
// They can be turned off in the account, and do nothing while somebody types.

const root = document.body.dataset.root;
const help = document.getElementById("keys-help");
const AREAS = { s: "services", e: "executions", w: "waiting", c: "schedules", y: "system" };
const PREFIX = 1500; // milliseconds in which a second key may follow `g`
const ROWS = "tbody tr:has(a[href]), .rows > :has(a[href]), ol.locks > li";
const FIELDS = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), select, textarea, [contenteditable]";
let prefixed = -Infinity;

/** What is there to be seen, in the page's order. */
function visible(selector) {
  return [...document.querySelectorAll(`#content :is(${selector})`)].filter((each) => each.checkVisibility());
}

function press(element) {
  if (!element) return false;
  element.focus();
  element.click();
  return true;
}

/** The row that has the focus, or was gone to last. */
function currentRow() {
  return document.activeElement?.closest(ROWS) ?? document.querySelector(".current-row");
}

function step(by) {
  const rows = visible(ROWS);
  if (!rows.length) return false;
  const at = rows.indexOf(currentRow());
  const row = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)];
  document.querySelector(".current-row")?.classList.remove("current-row");
  row.classList.add("current-row");
  const link = row.querySelector("[data-open]") ?? row.querySelector(".name a[href], th a[href]") ?? row.querySelector("a[href]");
  link?.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
  return true;
}

function act(key) {
  return currentRow()?.querySelector(`[data-press="${key}"]`) ?? visible(`[data-press="${key}"]`)[0];
}

function answer() {
  const asked = visible("form[data-question] :is(input, select, textarea, button):not([type=hidden])")[0];
  if (asked) {
    asked.focus();
    asked.scrollIntoView({ block: "center" });
  } else if (!press(act("a"))) {
    location.assign(`${root}waiting`);
  }
  return true;
}

const KEYS = {
  "?": () => show(),
  "/": () => {
    const field = visible("input[type=search]")[0];
    field?.focus();
    field?.select();
    return Boolean(field);
  },
  j: () => step(1),
  k: () => step(-1),
  n: () => press(visible("a[rel=next]")[0]),
  p: () => press(visible("a[rel=prev]")[0]),
  a: answer,
  r: () => press(act("r")),
  s: () => press(act("s")),
  x: () => {
    const box = currentRow()?.querySelector('input[type="checkbox"]');
    box?.click();
    return Boolean(box);
  },
};

function show() {
  if (!help.open) help.showModal();
  return true;
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.body.dataset.keys === "off" || document.querySelector("dialog[open]")) return;
  if (event.target.closest(FIELDS)) {
    if (event.key === "Escape" && event.target.matches("[type=search]") && !event.target.value) event.target.blur();
    return;
  }
  const second = performance.now() - prefixed < PREFIX;
  prefixed = -Infinity;
  if (second && AREAS[event.key]) {
    event.preventDefault();
    location.assign(root + AREAS[event.key]);
  } else if (event.key === "g") {
    prefixed = performance.now();
  } else if (Object.hasOwn(KEYS, event.key) && KEYS[event.key]()) {
    event.preventDefault();
  }
});

for (const button of document.querySelectorAll("[data-show-keys]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    button.closest("details")?.removeAttribute("open");
    show();
  });
}
