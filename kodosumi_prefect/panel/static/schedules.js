// Asks before schedules are changed that people do not see one by one, and shows times of theirs.
import { localise } from "./time.js";

const dialog = document.getElementById("sure");
const form = dialog.querySelector("form");
const words = { pause: "Pause", resume: "Resume", delete: "Delete" };

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sure]");
  if (button) {
    const { sure, id, text } = button.dataset;
    document.getElementById("sure-text").textContent = text;
    document.getElementById("sure-do").textContent = words[sure];
    form.elements.do.value = sure;
    form.elements.id.value = id ?? "";
    form.elements.id.disabled = !id;
    dialog.showModal();
  }
  if (event.target.closest("[data-close]")) dialog.close();
});
form.addEventListener("submit", () => dialog.close());
document.addEventListener("htmx:afterSwap", () => localise(document));

for (const select of document.querySelectorAll(".filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
localise(document);
