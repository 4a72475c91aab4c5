// Questions of hx-confirm in a dialog of the page's own.

const dialog = document.createElement("dialog");
const text = document.createElement("p");
const bar = document.createElement("form");
const no = document.createElement("button");
const yes = document.createElement("button");
let go = null;

text.id = "sure";
dialog.setAttribute("aria-labelledby", "sure");
bar.method = "dialog";
bar.className = "toolbar";
Object.assign(no, { textContent: "Cancel", value: "no", autofocus: true });
Object.assign(yes, { value: "yes", className: "danger" });
bar.append(no, yes);
dialog.append(text, bar);
document.body.append(dialog);

dialog.addEventListener("close", () => {
  if (dialog.returnValue === "yes") go?.();
  go = null;
});
document.addEventListener("htmx:confirm", (event) => {
  const { question, elt, issueRequest } = event.detail;
  if (!question) return;
  event.preventDefault();
  text.textContent = question;
  yes.textContent = elt.querySelector("button")?.textContent || "Go on";
  go = () => issueRequest(true);
  dialog.returnValue = "no";
  dialog.showModal();
});
