// Keeps the keyboard's focus in the page when what had it is disabled, hidden, or replaced.

const FIELDS = "a, button, input, select, summary, textarea";
let trail = []; // what has or had the focus, and what it is in, innermost first

document.addEventListener("focusin", (event) => {
  trail = [];
  for (let each = event.target; each && each !== document.body; each = each.parentElement) trail.push(each);
});
// Whoever leaves what is still there, by a click on nothing, has given the focus away.
document.addEventListener("focusout", ({ target, relatedTarget }) => {
  if (relatedTarget) return;
  queueMicrotask(() => {
    if (trail[0] === target && document.activeElement !== target && usable(target)) trail = [];
  });
});

function usable(element) {
  return element.isConnected && element.checkVisibility() && !element.matches(":disabled");
}

/** Give a focus that got lost to what took the place of its element, or to what is around it. */
export function refocus() {
  if (document.activeElement && document.activeElement !== document.body) return;
  if (trail[0]?.closest(".htmx-request")) return; // disabled until its own answer is there
  for (const one of trail) {
    const each = one.isConnected ? one : one.id && document.getElementById(one.id);
    if (!each || !usable(each)) continue;
    if (!each.hasAttribute("tabindex") && !each.matches(FIELDS)) each.tabIndex = -1;
    each.focus({ preventScroll: true });
    if (document.activeElement === each) return;
  }
}

document.addEventListener("htmx:afterRequest", refocus);
document.addEventListener("htmx:afterSettle", refocus);
// Another listener may hide what opened the dialog; it does so first.
document.addEventListener("close", () => setTimeout(refocus), true);
