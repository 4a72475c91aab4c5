// Buttons with data-copy="id" copy the text of that field, or select it where that is not allowed.
import { announce } from "./frame.js";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  const field = button && document.getElementById(button.dataset.copy);
  if (!field) return;
  try {
    await navigator.clipboard.writeText(field.value);
  } catch {
    // Without https, or without permission: older browsers' way, else people press the keys.
    field.focus();
    field.select();
    if (!document.execCommand("copy")) {
      announce("Selected. Press Control C or Command C to copy.");
      button.textContent = "Selected";
      return;
    }
  }
  button.textContent = "Copied";
  announce("Copied");
});
