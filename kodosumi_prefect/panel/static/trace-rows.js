// The rows of a trace that are in sight, as a tree that the keyboard walks.
import { dollars, ticks, took, tokens } from "./trace-words.js";

const BEYOND = 8; // rows above and below what is in sight
const NARROWEST = 0.3; // percent of the axis, so that the shortest bar is seen
const DEEPEST = 16; // levels that are moved in; what is deeper says its level
const TYPES = {
  agent: "agent", llm: "model call", tool: "tool call", retrieval: "retrieval", embedding: "embedding", chain: "chain", task: "task",
  wait: "wait", step: "step", attempt: "attempt", custom: "span",
};

/**
 * Rows in `screen`: only those in sight are in the page. Calls `choose(node)` when one is opened,
 * `moved(node)` when the keyboard goes to one, `fold(node, open)` when it is folded or unfolded.
 */
export class Rows {
  constructor(screen, icons, calls) {
    Object.assign(this, { screen, calls, rows: [], places: new Map(), elements: new Map(), active: null, chosen: null });
    this.icons = new Map([...icons.content.querySelectorAll("[data-icon]")].map((one) => [one.dataset.icon, one.firstElementChild]));
    this.axis = { from: 0, to: 1 };
    this.grid = made("div", "trace-grid");
    this.grid.setAttribute("role", "treegrid");
    this.grid.setAttribute("aria-label", "Trace");
    this.head = this.#head();
    this.body = made("div", "trace-body");
    this.body.setAttribute("role", "rowgroup");
    this.grid.append(this.head, this.body);
    this.screen.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(screen);
    this.body.addEventListener("click", (click) => this.#clicked(click));
    this.body.addEventListener("keydown", (key) => this.#pressed(key));
    this.body.addEventListener("focusin", ({ target }) => {
      const row = target.closest("[role=row]");
      if (row) this.#activate(this.rows[this.places.get(row.dataset.key)]);
    });
  }

  /** Show these; `state(node)` is `{open, dim}`: whether what is below shows, and it is only on the way. */
  show(rows, axis, state, usage) {
    Object.assign(this, { rows, axis, state });
    this.places = new Map(rows.map((node, n) => [node.key, n]));
    if (!this.grid.isConnected) this.screen.replaceChildren(this.grid);
    this.grid.classList.toggle("no-usage", !usage);
    this.grid.setAttribute("aria-rowcount", rows.length + 1);
    if (!this.active || !this.places.has(this.active.key)) this.active = rows[0] ?? null;
    else this.active = rows[this.places.get(this.active.key)];
    this.#measure();
    this.#axisWords();
    this.draw(true);
  }

  /** Only what has changed by the passing of time. */
  tick(axis) {
    this.axis = axis;
    this.#axisWords();
    this.draw(true);
  }

  choose(node) {
    this.chosen = node?.key ?? null;
    for (const [key, element] of this.elements) element.setAttribute("aria-selected", String(key === this.chosen));
  }

  /** Bring a row into sight, and give it the focus if `focus`. */
  reveal(node, focus = false) {
    const place = this.places.get(node.key);
    if (place === undefined) return;
    this.#activate(node);
    const [top, height] = [place * this.height, this.screen.clientHeight - this.headHeight];
    if (top < this.screen.scrollTop) this.screen.scrollTop = top;
    else if (top + this.height > this.screen.scrollTop + height) this.screen.scrollTop = top + this.height - height;
    this.draw();
    if (focus) this.elements.get(node.key)?.focus({ preventScroll: true });
  }

  draw(anew = false) {
    if (!this.height) return;
    const { scrollTop, clientHeight } = this.screen;
    const first = Math.max(Math.floor(scrollTop / this.height) - BEYOND, 0);
    const last = Math.min(Math.ceil((scrollTop + clientHeight) / this.height) + BEYOND, this.rows.length);
    const wanted = new Map();
    for (let n = first; n < last; n += 1) wanted.set(this.rows[n].key, n);
    const kept = this.active ? this.places.get(this.active.key) : -1; // the focus stays there
    const ordered = kept >= 0 && kept < first ? [[this.active.key, kept], ...wanted] : [...wanted];
    if (kept >= last) ordered.push([this.active.key, kept]);
    if (kept >= 0) wanted.set(this.active.key, kept);
    const focused = document.activeElement?.closest?.(".trace-body [role=row]");
    for (const [key, element] of this.elements) {
      if (wanted.has(key)) continue;
      element.remove();
      this.elements.delete(key);
    }
    let next = this.body.firstElementChild;
    for (const [key, n] of ordered) {
      let element = this.elements.get(key);
      if (!element || anew) {
        element ??= this.#row(key);
        this.#fill(element, this.rows[n]);
      }
      if (element === next) next = next.nextElementSibling;
      else this.body.insertBefore(element, next); // readers of screens go by the page's order
      element.style.transform = `translateY(${n * this.height}px)`;
      element.setAttribute("aria-rowindex", n + 2);
      element.tabIndex = key === this.active?.key ? 0 : -1;
    }
    if (focused && document.activeElement !== focused) this.elements.get(this.active?.key)?.focus({ preventScroll: true });
  }

  #soon() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  #resized() {
    if (!this.screen.clientHeight) return;
    this.#measure();
    this.#axisWords();
    this.draw();
  }

  #measure() {
    this.height = Number.parseFloat(getComputedStyle(this.grid).getPropertyValue("--row")) || 30;
    this.headHeight = this.head.offsetHeight;
    this.body.style.height = `${this.rows.length * this.height}px`;
  }

  #head() {
    const group = made("div", "trace-head");
    group.setAttribute("role", "rowgroup");
    const row = made("div", "trace-row");
    row.setAttribute("role", "row");
    row.setAttribute("aria-rowindex", 1);
    for (const [name, words] of [["what", "Name"], ["tokens", "Tokens"], ["cost", "Cost"], ["took", "Took"], ["over", ""]]) {
      const cell = made("div", name, words);
      cell.setAttribute("role", "columnheader");
      if (!words) cell.setAttribute("aria-label", "Over time");
      row.append(cell);
    }
    group.append(row);
    return group;
  }

  #axisWords() {
    const over = this.head.querySelector(".over");
    const most = Math.max(Math.min(Math.floor(over.clientWidth / 72), 7), 1);
    const marks = ticks(Math.max(this.axis.to - this.axis.from, 0.001), most).map(([share, words]) => {
      const mark = made("span", "mark", words);
      mark.style.left = `${100 * share}%`;
      return mark;
    });
    over.replaceChildren(...marks);
  }

  #row(key) {
    const element = made("div", "trace-row");
    element.setAttribute("role", "row");
    element.dataset.key = key;
    for (const name of ["what", "tokens", "cost", "took", "over"]) {
      const cell = made("div", name);
      cell.setAttribute("role", "gridcell");
      element.append(cell);
    }
    this.elements.set(key, element);
    return element;
  }

  #fill(element, node) {
    const { open, dim } = this.state(node);
    const said = [node.key, open, dim, node.from, node.to, node.open, node.failed, JSON.stringify(node.sum), this.axis.from, this.axis.to, node.critical, node.children.length, node.depth, node.name, node.over].join("\u0001");
    if (element.said === said) return;
    element.said = said;
    const { what, tokens: counted, cost, took: lasted, over } = cells(element);
    element.className = ["trace-row", `type-${node.type}`, ...classes(node, dim)].join(" ");
    element.setAttribute("aria-level", node.depth + 1);
    element.setAttribute("aria-posinset", node.at);
    element.setAttribute("aria-setsize", node.of);
    element.setAttribute("aria-selected", String(node.key === this.chosen));
    if (node.children.length) element.setAttribute("aria-expanded", String(open));
    else element.removeAttribute("aria-expanded");
    what.style.setProperty("--depth", Math.min(node.depth, DEEPEST));
    what.replaceChildren(...this.#what(node, open));
    counted.textContent = node.sum.input || node.sum.output ? tokens(node.sum.input + node.sum.output) : "";
    counted.title = counted.textContent && `${node.sum.input.toLocaleString("en")} in, ${node.sum.output.toLocaleString("en")} out`;
    cost.textContent = priced(node.sum);
    cost.title = node.sum.unpriced ? `${node.sum.unpriced.toLocaleString("en")} of ${node.sum.calls.toLocaleString("en")} calls have no known price` : "";
    lasted.textContent = lastedWords(node);
    over.replaceChildren(...this.#bar(node));
  }

  #what(node, open) {
    const twist = made("span", "twist");
    if (node.children.length) twist.dataset.open = String(open);
    const name = made("span", "name", node.name);
    name.title = node.name;
    const parts = [twist, this.#icon(node), made("span", "hidden", `${TYPES[node.type] ?? "span"}: `), name];
    if (node.depth > DEEPEST) parts.splice(1, 0, made("span", "sub deep", `${node.depth + 1}`));
    if (node.model) parts.push(made("span", "sub", node.model));
    if (node.outcome) parts.push(made("span", "sub", node.outcome));
    if (node.failed && node.kind !== "step") parts.push(made("span", "why", node.error || "failed"));
    else if (node.cancelled) parts.push(made("span", "sub", "cancelled"));
    if (!open && node.children.length && node.sum.errors) parts.push(made("span", "why", `${node.sum.errors} failed below`));
    if (node.skewed) parts.push(made("span", "sub odd", "clock differs"));
    if (node.critical && !["attempt", "step"].includes(node.kind)) parts.push(made("span", "hidden", ", on the critical path"));
    return parts;
  }

  #icon(node) {
    const known = this.icons.get(node.icon ?? node.type) ?? this.icons.get("custom");
    const icon = made("span", "of");
    if (node.kind !== "attempt") icon.append(known.cloneNode(true));
    return icon;
  }

  #bar(node) {
    const length = Math.max(this.axis.to - this.axis.from, 0.001);
    const left = Math.min(Math.max((100 * (node.from - this.axis.from)) / length, 0), 100 - NARROWEST);
    const bar = made("i", node.kind === "step" ? "stretch dot" : "stretch");
    bar.style.left = `${left}%`;
    if (node.kind !== "step") bar.style.width = `${Math.min(Math.max((100 * (node.to - node.from)) / length, NARROWEST), 100 - left)}%`;
    return [bar];
  }

  #activate(node) {
    if (!node || node.key === this.active?.key) return;
    const before = this.elements.get(this.active?.key);
    if (before) before.tabIndex = -1;
    this.active = node;
    const element = this.elements.get(node.key);
    if (element) element.tabIndex = 0;
  }

  #clicked(click) {
    const row = click.target.closest("[role=row]");
    const node = row && this.rows[this.places.get(row.dataset.key)];
    if (!node) return;
    this.#activate(node);
    if (click.target.closest(".twist") && node.children.length) return this.calls.fold(node, !this.state(node).open);
    if (node.kind === "attempt") return this.calls.fold(node, !this.state(node).open);
    this.calls.choose(node);
  }

  #pressed(key) {
    if (key.ctrlKey || key.metaKey || key.altKey || !this.active) return;
    const at = this.places.get(this.active.key);
    const page = Math.max(Math.floor((this.screen.clientHeight - this.headHeight) / this.height) - 1, 1);
    const { open } = this.state(this.active);
    const folds = this.active.children.length > 0;
    const move = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.rows.length - 1, PageDown: at + page, PageUp: at - page }[key.key];
    if (move !== undefined) {
      const node = this.rows[Math.min(Math.max(move, 0), this.rows.length - 1)];
      this.reveal(node, true);
      this.calls.moved(node);
    } else if (key.key === "ArrowRight") {
      if (folds && !open) this.calls.fold(this.active, true);
      else if (folds) this.#to(this.rows[at + 1]);
    } else if (key.key === "ArrowLeft") {
      if (folds && open) this.calls.fold(this.active, false);
      else this.#to(this.active.above);
    } else if (key.key === "Enter" || key.key === " ") {
      if (this.active.kind === "attempt") this.calls.fold(this.active, !open);
      else this.calls.choose(this.active, true);
    } else {
      return;
    }
    key.preventDefault();
    key.stopPropagation();
  }

  #to(node) {
    if (!node || !this.places.has(node.key)) return;
    this.reveal(node, true);
    this.calls.moved(node);
  }
}

function made(tag, className, text) {
  const element = document.createElement(tag);
  element.className = className;
  if (text) element.textContent = text;
  return element;
}

const cells = (row) => Object.fromEntries([...row.children].map((cell) => [cell.classList[0], cell]));

function classes(node, dim) {
  const on = { failed: node.failed, open: node.open, dim, critical: node.critical, odd: node.skewed || node.backwards, ended: node.over, log: node.log };
  return Object.keys(on).filter((name) => on[name]);
}

function priced({ calls, cost, unpriced }) {
  if (!calls) return "";
  if (unpriced === calls) return "unknown";
  return unpriced ? `${dollars(cost)} + ?` : dollars(cost);
}

function lastedWords(node) {
  if (node.kind === "step") return "";
  if (node.backwards) return "unknown";
  if (node.open && node.lost) return "not ended";
  return took(node.to - node.from);
}
