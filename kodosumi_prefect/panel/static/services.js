// Launching: keeps what was typed, leads to what is wrong, and reckons in the reader's own zone.
import { announce, freshKey } from "./frame.js";
import { localise } from "./time.js";

localise(document);

const launch = document.getElementById("launch");
const fields = document.getElementById("fields");
const zone = document.getElementById("zone");
let secrets = new Map();

const schedule = document.getElementById("schedule");
if (zone?.hasAttribute("data-own")) {
  zone.value = Intl.DateTimeFormat().resolvedOptions().timeZone || zone.value;
  const preview = () => window.htmx.trigger(zone.closest("fieldset"), "kodosumi:preview");
  if (schedule.open) addEventListener("load", preview, { once: true });
  else schedule.addEventListener("toggle", preview, { once: true });
}

// What was typed stays: the page has the other form already.
document.getElementById("to-schedule")?.addEventListener("click", (event) => {
  event.preventDefault();
  schedule.open = true;
  schedule.scrollIntoView({ block: "start" });
  schedule.querySelector("input:checked").focus({ preventScroll: true });
});

// Back at a form that was sent before, one wants another run and not that one.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  const key = freshKey();
  for (const field of document.querySelectorAll("[data-key]")) field.value = key;
});

// Old complaints are no longer true of what is sent now.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.target.closest("#launch, #schedule > form") || event.target.closest("fieldset")) return;
  document.getElementById("trouble").replaceChildren();
  document.getElementById("schedule-trouble").replaceChildren();
});

// The server never sends a password back; here it may stay.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target !== fields) return;
  const typed = launch.querySelectorAll("input[type=password]");
  secrets = new Map([...typed].map((field) => [field.name, field.value]));
});

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target !== fields) return;
  for (const field of launch.querySelectorAll("input[type=password]")) field.value = secrets.get(field.name) ?? "";
  const wrong = launch.querySelectorAll("[aria-invalid]");
  wrong[0]?.focus();
  if (wrong.length) announce(wrong.length === 1 ? "One field is wrong." : `${wrong.length} fields are wrong.`);
});
