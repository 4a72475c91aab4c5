// The chart of task runs: times in the reader's zone, and no looks at what nobody sees.
import { localise } from "./time.js";

const chart = () => document.getElementById("gantt");

localise(document);
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.detail.elt.id !== "gantt") return;
  if (document.hidden || !event.detail.elt.offsetParent) event.preventDefault();
});
// At once, before anything is painted: the server writes UTC.
document.addEventListener("htmx:afterSwap", () => chart() && localise(chart()));
