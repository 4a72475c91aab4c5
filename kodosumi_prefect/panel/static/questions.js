// Cards of questions: fetched, closed when somebody else answered, and on the page of their run.
import { announce, ask } from "./frame.js";
import { localise } from "./time.js";

/** Whether anything in a card was typed or chosen. */
export function dirty(card) {
  if (card.querySelector("[data-changed]")) return true;
  return [...card.querySelectorAll("input, textarea, select")].some((field) => {
    if (field.type === "checkbox") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") {
      return [...field.options].some((option) => option.selected !== option.defaultSelected);
    }
    return field.value !== field.defaultValue;
  });
}

/** The card of a question as it stands now, by `fid/lid`; null if the panel refuses. */
export async function fetchCard(root, name) {
  const headers = { "HX-Request": "true", "HX-Current-URL": location.href };
  const answer = await ask(`${root}waiting/${name}`, { headers });
  if (!answer.ok) return null;
  const template = document.createElement("template");
  template.innerHTML = await answer.text();
  return template.content.querySelector(".lock");
}

/** Put a card that was fetched into the page. */
export function bringToLife(card) {
  localise(card);
  htmx.process(card);
}

/** Somebody answered elsewhere, or nobody waits any more: say so, and keep what is being typed. */
export async function closeCard(root, name, old) {
  const fresh = await fetchCard(root, name);
  if (!fresh || !("closed" in fresh.dataset) || !old.isConnected) return;
  const trouble = old.querySelector(".trouble");
  if (trouble && (dirty(old) || old.contains(document.activeElement))) {
    trouble.textContent = fresh.querySelector("[role=status]").textContent;
    old.dataset.closed = "";
    return;
  }
  old.replaceWith(fresh);
  bringToLife(fresh);
}

document.addEventListener("htmx:afterSwap", (event) => localise(event.detail.elt.parentElement ?? document));
document.addEventListener("htmx:afterSettle", (event) => {
  const swapped = event.detail.elt;
  if (!swapped?.matches?.(".lock")) return;
  const wrong = swapped.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
});

/** The questions of one run on its page, which tells which are open. */
export class Questions {
  constructor(holder, root, fid) {
    Object.assign(this, { holder, root, fid });
    this.turn = Promise.resolve();
    this.known = new Set(this.#cards().map((card) => this.#lid(card)));
  }

  /** Which are open now, oldest first. */
  follow(lids) {
    this.turn = this.turn.then(() => this.#follow(lids)).catch(() => {}); // `ask` has told of it
  }

  async #follow(lids) {
    for (const lid of lids.filter((one) => !this.known.has(one))) {
      const fresh = await fetchCard(this.root, `${this.fid}/${lid}`);
      if (!fresh || "closed" in fresh.dataset) continue; // somebody else's, or just answered
      for (const done of this.holder.querySelectorAll(".lock.done")) done.remove();
      this.known.add(lid);
      this.holder.append(fresh);
      bringToLife(fresh);
      announce("The execution asks you something.");
    }
    for (const card of this.#cards()) {
      const open = lids.includes(this.#lid(card));
      if (!open && !("closed" in card.dataset)) await closeCard(this.root, card.dataset.lock, card);
    }
  }

  #cards() {
    return [...this.holder.querySelectorAll("[data-lock]")];
  }

  #lid(card) {
    return card.dataset.lock.slice(this.fid.length + 1);
  }
}
