// What people do to an execution: cancel, retry, archive; and what they take along: payloads.
import { ask, notice } from "./frame.js";

/** Questions before something is done, asked in dialogs; `done(name)` hears of what was. */
export function acts(page, root, done) {
  document.addEventListener("click", ({ target }) => {
    for (const menu of page.querySelectorAll("details.others[open]")) {
      if (!menu.contains(target) || target.closest(".menu a")) menu.open = false;
    }
  });
  page.addEventListener("keydown", (key) => {
    const menu = key.key === "Escape" && key.target.closest("details.others[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  for (const dialog of page.querySelectorAll("dialog")) {
    if (dialog.open) {
      dialog.close();
      dialog.showModal();
    }
    dialog.addEventListener("click", (click) => {
      if (!click.target.closest("[data-close]")) return;
      click.preventDefault();
      dialog.close();
    });
    dialog.querySelector("form").addEventListener("submit", (submit) => {
      submit.preventDefault();
      act(submit.currentTarget, dialog, root, done);
    });
  }
  page.addEventListener("click", (click) => {
    const asking = click.target.closest("[data-ask]");
    const dialog = asking && document.getElementById(`ask-${asking.dataset.ask}`);
    if (!dialog) return;
    click.preventDefault();
    dialog.querySelector(".wrong").textContent = "";
    dialog.showModal();
  });
}

async function act(form, dialog, root, done) {
  const button = form.querySelector("button");
  const fid = document.getElementById("execution").dataset.fid;
  const name = form.dataset.act;
  const archive = name === "archive";
  const address = archive ? `${root}outputs/${fid}` : `${root}outputs/${fid}/${name}`;
  button.disabled = true;
  try {
    const answer = await ask(address, { method: archive ? "DELETE" : "POST" });
    if (answer.ok) {
      if (archive) location.assign(`${root}executions`);
      dialog.close();
      return done(name);
    }
    const problem = await answer.json().catch(() => ({}));
    dialog.querySelector(".wrong").textContent = problem.detail ?? `The panel answers ${answer.status}.`;
  } catch {
    dialog.querySelector(".wrong").textContent = "The panel does not answer; nothing was done.";
  } finally {
    button.disabled = false;
  }
}

/** Buttons that copy a whole payload, also if only its beginning is shown. */
export function copies(list, events) {
  list.addEventListener("toggle", (toggle) => {
    for (const button of toggle.target.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
  }, true);
  list.addEventListener("click", async (click) => {
    const button = click.target.closest("[data-copy]");
    if (!button) return;
    const item = button.closest("[data-seq]");
    const pre = item.querySelector("pre");
    try {
      let text = pre.textContent;
      if ("cut" in pre.dataset) {
        const answer = await ask(`${events}?after=${item.dataset.seq - 1}&limit=1`);
        text = (await answer.json()).items[0].payload;
      }
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy payload"), 2000);
    } catch {
      notice("copy", "The browser did not let the payload be copied; select its text instead.");
    }
  });
}
