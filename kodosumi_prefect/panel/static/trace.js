// The Trace tab: loads spans by the page and what changed of them, draws them as a tree over time,
// and shows what one of them holds.
import { announce, ask, notice } from "./frame.js";
import { localise } from "./time.js";
import { Rows } from "./trace-rows.js";
import { build, inOrder } from "./trace-tree.js";

const FIRST = 1000; // spans of the first answer, which is painted at once
const PAGE = 5000; // spans of a further one
const MOST = 20000; // spans that are shown unless more are asked for
const MOST_STEPS = 2000; // likewise of steps
const MOST_LINES = 3000; // likewise of lines of the log
const PAUSE = 300; // ms at least between looks at what changed
const SHARE = 8; // of the time in between, how much longer it is than such a look took
const TASKS_PAUSE = 10000; // ms between looks at the task runs
const UNFOLDED = 400; // rows up to which all are unfolded at first
const FOLLOW = 160; // ms that the keyboard rests on a row before its details come
const WIDE = matchMedia("(min-width: 900px)");

const byId = (id) => document.getElementById(id);

export class Trace {
  constructor(page, here) {
    Object.assign(this, { page, here, root: page.dataset.root, fid: page.dataset.fid });
    this.tree = byId("trace-tree");
    this.tools = byId("trace-tools");
    this.spans = new Map();
    this.tasks = [];
    this.steps = [];
    this.lines = [];
    this.most = MOST;
    this.folds = new Map(); // by key, whether people folded or unfolded it
    this.began = false; // whether anything was asked for
    this.complete = false; // whether all spans up to `seq` are here
    this.after = 0;
    this.seq = 0;
    this.newest = 0;
    this.stepsAfter = 0;
    this.linesAfter = 0;
    this.opened = null; // key of the row whose details are shown
    this.rows = new Rows(byId("trace-screen"), byId("trace-icons"), {
      choose: (node) => this.choose(node.key),
      moved: (node) => this.#follow(node),
      fold: (node, open) => this.#fold(node, open),
    });
    this.#controls();
    const start = new URL(location.href).searchParams;
    this.wanted = start.get("tab") === "trace" ? start.get("span") : null;
    this.view = this.tree.dataset.view === "steps" ? "steps" : "tree";
    this.pinned = start.has("view"); // the way to look at it was chosen
    if (this.wanted && byId("trace-chosen").firstElementChild) this.#shown(this.wanted);
  }

  /** The tab was opened; answers whether it shows cards. */
  async revealed() {
    if (this.began) {
      this.#look();
      return;
    }
    this.began = true;
    await this.#load();
  }

  /** The stream brought an event. */
  changed(kind, seq) {
    this.newest = Math.max(this.newest, seq);
    if (kind !== "span") this.stepped = true;
    if (!this.began) return;
    this.#later();
  }

  /** The run is over, or its attempt is another: what nobody told of is looked up. */
  settle() {
    if (!this.began) return;
    this.tasksAt = -Infinity;
    this.#later();
  }

  clear() {
    this.spans.clear();
    Object.assign(this, { steps: [], lines: [], after: 0, seq: 0, stepsAfter: 0, linesAfter: 0, complete: false });
    if (this.began) this.#load();
  }

  /** Show the details of the row of this key, and name it in the address. */
  async choose(key) {
    const node = this.model?.nodes.get(key);
    if (node) this.rows.choose(node);
    this.opened = key;
    this.#address();
    const answer = await ask(`${this.here}/trace/of/${encodeURIComponent(key)}?fragment=true`).catch(() => null);
    if (this.opened !== key || !answer) return;
    const chosen = byId("trace-chosen");
    if (answer.ok) chosen.innerHTML = await answer.text(); // escaped and sanitised by the server
    else chosen.textContent = answer.status === 404 ? "This row is not there any more." : "It could not be loaded.";
    localise(chosen);
    this.#shown(key);
    if (!WIDE.matches) chosen.querySelector("h2")?.focus();
  }

  /** On a phone details lie over all else, which cannot be reached meanwhile. */
  #cover(details) {
    this.covered ??= [];
    for (const one of this.covered.splice(0)) one.inert = false;
    const over = !WIDE.matches && !details.hidden;
    document.documentElement.classList.toggle("covered", over);
    details.role = over ? "dialog" : null;
    details.ariaModal = over ? "true" : null;
    for (let one = details; over && one !== document.body; one = one.parentElement) {
      for (const other of one.parentElement.children) {
        if (other === one || other.inert || other.id === "announce") continue;
        other.inert = true;
        this.covered.push(other);
      }
    }
  }

  close() {
    const node = this.model?.nodes.get(this.opened);
    const inside = byId("trace-details").contains(document.activeElement);
    this.opened = null;
    this.rows.choose(null);
    byId("trace-details").hidden = true;
    this.#cover(byId("trace-details"));
    this.tree.classList.remove("with-details");
    this.#address();
    this.rows.draw();
    if (node && inside) this.rows.reveal(node, true);
  }

  #shown(key) {
    this.opened = key;
    const details = byId("trace-details");
    details.hidden = false;
    this.#cover(details);
    this.tree.classList.add("with-details");
    for (const button of details.querySelectorAll("[data-copy-content], [data-copy-link]")) button.hidden = false;
    const node = this.model?.nodes.get(key);
    const end = node?.over ?? true;
    this.detailsOf = { key, end };
  }

  #follow(node) {
    clearTimeout(this.following);
    if (this.opened === null || !WIDE.matches || node.kind === "attempt") return;
    this.following = setTimeout(() => this.choose(node.key), FOLLOW);
  }

  // Loading

  async #load() {
    try {
      await this.#page(FIRST);
      this.#draw();
      const other = this.#other();
      while (!this.complete && this.spans.size < this.most) await this.#page(PAGE);
      this.#draw();
      await other;
    } catch {
      notice("trace", "The trace could not be loaded whole; reload the page to try again.");
    }
    this.#more();
    if (this.newest > this.seq || this.stepped) this.#later();
  }

  /** One more page of spans in the order in which they were first heard of. */
  async #page(limit) {
    const answer = await this.#ask(`spans?after=${this.after}&limit=${limit}`);
    this.#take(answer);
    if (!this.seq) this.seq = answer.seq;
    this.after = answer.next;
    this.complete = !answer.more;
  }

  async #ask(path) {
    const answer = await ask(`${this.here}/trace/${path}`);
    if (!answer.ok) throw new Error(`the panel answers ${answer.status}`);
    return answer.json();
  }

  #take({ columns, rows }) {
    for (const values of rows) {
      const span = {};
      for (let n = 0; n < columns.length; n += 1) span[columns[n]] = values[n];
      if (!this.complete && this.after && span.first_seq > this.after && this.capped) continue;
      this.spans.set(span.id, span);
    }
  }

  /** Steps, task runs and lines, which come after the spans. */
  async #other() {
    await Promise.all([this.#moreSteps(), this.#moreTasks()]).catch(() => {});
    this.#draw();
  }

  async #moreSteps() {
    while (this.steps.length < MOST_STEPS) {
      const answer = await this.#ask(`steps?after=${this.stepsAfter}`);
      this.steps.push(...answer.items);
      this.stepsAfter = answer.next;
      if (!answer.more) break;
    }
    while (this.tools.elements.log.checked && this.lines.length < MOST_LINES) {
      const answer = await this.#ask(`steps?after=${this.linesAfter}&log=true`);
      this.lines.push(...answer.items);
      this.linesAfter = answer.next;
      if (!answer.more) break;
    }
    this.stepped = false;
  }

  async #moreTasks() {
    if (performance.now() - (this.tasksAt ?? -Infinity) < TASKS_PAUSE) return;
    this.tasksAt = performance.now();
    const answer = await ask(`${this.root}outputs/tasks/${this.fid}`);
    if (answer.ok) this.tasks = (await answer.json()).items;
  }

  #later() {
    if (this.timer) return;
    const pause = Math.max(PAUSE, (this.spent ?? 0) * SHARE);
    this.timer = setTimeout(() => this.#look(), pause);
  }

  /** What changed since the last look; nothing while nobody sees it. */
  async #look() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.looking || !this.visible() || document.hidden) return;
    this.looking = true;
    const [start, until] = [performance.now(), this.newest];
    try {
      if (until > this.seq) await this.#changes();
      await Promise.all([this.stepped && this.#moreSteps(), this.#moreTasks()]);
      this.spent = performance.now() - start;
      this.#draw();
      this.#refreshDetails();
    } catch {
      this.spent = 1000; // `ask` has told of it
    }
    this.looking = false;
    if (this.newest > Math.max(this.seq, until) || this.stepped) this.#later();
  }

  async #changes() {
    let after = 0;
    let answer;
    let seq = null;
    do {
      answer = await this.#ask(`spans?changed=${this.seq}&after=${after}&limit=${PAGE}`);
      seq ??= answer.seq;
      this.capped = !this.complete;
      this.#take(answer);
      after = answer.next;
    } while (answer.more);
    this.seq = Math.max(this.seq, seq);
    if (this.complete && this.spans.size > this.most) this.#more();
    this.#totals();
  }

  async #totals() {
    const answer = await ask(`${this.here}/trace/totals`).catch(() => null);
    if (!answer?.ok) return;
    const totals = byId("trace-totals");
    const open = totals.querySelector("details")?.open;
    totals.innerHTML = await answer.text(); // escaped by the server
    if (open && totals.querySelector("details")) totals.querySelector("details").open = true;
  }

  #refreshDetails() {
    if (this.opened === null || !this.detailsOf || this.detailsOf.end) return;
    if (this.model.nodes.get(this.opened)?.over && !byId("trace-details").contains(document.activeElement)) this.choose(this.opened);
  }

  visible() {
    return byId("panel-trace").offsetParent !== null && !this.tree.hidden;
  }

  // Drawing

  #run() {
    const { over, began } = byId("summary").dataset;
    const ended = over === undefined ? null : Number(byId("summary").dataset.ended) || null;
    return { began: Number(began), ended: over === undefined ? null : ended ?? Date.now() / 1000, now: Date.now() / 1000 };
  }

  #draw() {
    const run = this.#run();
    const steps = [...this.steps, ...(this.tools.elements.log.checked ? this.lines : [])].sort((a, b) => a.seq - b.seq);
    this.model = build({ spans: this.spans, tasks: this.tasks, steps, run });
    this.live = run.ended === null;
    for (const node of this.model.nodes.values()) node.lost = !this.live && node.kind === "span" && node.ended === null;
    const any = this.model.nodes.size > 0;
    byId("trace-screen").hidden = !any;
    byId("trace-empty").hidden = any;
    for (const part of [this.tools, byId("trace-folds")]) part.hidden = !any;
    if (!any) return this.#choice();
    this.#typesThere();
    this.#show();
    this.#choice();
    this.#tickWhileLive();
    if (this.wanted) this.#toWanted();
    this.tree.dataset.loaded = this.complete ? "all" : "part";
    this.tree.dataset.spans = this.spans.size;
  }

  /** Show the rows that pass the filter, with what they lie in. */
  #show() {
    const filter = this.#filter();
    const { roots, nodes, from, to } = this.model;
    const kept = filter && keeping(nodes, filter);
    const level = this.#level(roots);
    const open = (node) => this.folds.get(node.key) ?? (Boolean(kept) || node.depth < level);
    let rows = inOrder(roots, (node) => open(node));
    if (kept) rows = rows.filter((node) => kept.has(node.key));
    const state = (node) => ({ open: open(node), dim: Boolean(kept) && !kept.get(node.key) });
    const usage = roots.some((root) => root.sum.calls);
    this.rows.show(rows, { from, to }, state, usage);
    const matching = kept ? [...kept.values()].filter(Boolean).length : 0;
    byId("trace-count").textContent = kept ? `${matching.toLocaleString("en")} of ${nodes.size.toLocaleString("en")}` : "";
    if (kept && !rows.length) byId("trace-count").textContent = "nothing matches";
  }

  /** How many levels are unfolded while people have not said otherwise. */
  #level(roots) {
    if (this.all !== undefined) return this.all ? Infinity : 0;
    if (this.model.nodes.size <= UNFOLDED) return Infinity;
    let [level, shown, layer] = [0, roots.length, roots];
    while (layer.length) {
      layer = layer.flatMap((node) => node.children);
      shown += layer.length;
      if (shown > UNFOLDED) break;
      level += 1;
    }
    return Math.max(level, 1);
  }

  #filter() {
    const { elements } = this.tools;
    const types = new Set([...this.tools.querySelectorAll("[name=type]:checked")].map((box) => box.value));
    const text = elements.q.value.trim().toLowerCase();
    const [errors, critical] = [elements.errors.checked, elements.critical.checked];
    if (!types.size && !text && !errors && !critical) return null;
    return (node) =>
      (!types.size || types.has(node.type)) &&
      (!errors || node.failed) &&
      (!critical || (node.critical && node.kind !== "attempt")) &&
      (!text || `${node.name}\n${node.model}\n${node.error}`.toLowerCase().includes(text));
  }

  #typesThere() {
    const there = new Set();
    for (const node of this.model.nodes.values()) there.add(node.type);
    for (const label of byId("trace-types").querySelectorAll("label")) {
      const box = label.querySelector("input");
      label.hidden = !there.has(box.value) && !box.checked;
    }
  }

  #fold(node, open) {
    this.folds.set(node.key, open);
    this.#show();
    this.rows.reveal(node, document.activeElement?.closest(".trace-body") !== null);
  }

  #foldAll(open) {
    this.folds.clear();
    this.all = open;
    this.#show();
  }

  /** A link named a row: open what it lies in, and go there. */
  #toWanted() {
    const node = this.model.nodes.get(this.wanted);
    if (!node) {
      if (this.complete) {
        if (!byId("trace-chosen").firstElementChild) notice("trace", "The row that this link leads to is not in this trace.");
        this.wanted = null;
      }
      return;
    }
    this.wanted = null;
    for (let above = node.above; above; above = above.above) this.folds.set(above.key, true);
    this.#show();
    if (this.opened === node.key) this.#shown(node.key);
    else this.choose(node.key);
    this.rows.choose(node);
    this.rows.reveal(node);
  }

  #tickWhileLive() {
    clearTimeout(this.ticking);
    if (!this.live) return;
    this.ticking = setTimeout(() => {
      if (this.visible() && !document.hidden && !this.looking && this.model.nodes.size < 2000) this.#draw();
      else this.#tickWhileLive();
    }, 1000);
  }

  #more() {
    const more = byId("trace-more");
    more.hidden = this.complete || this.spans.size < this.most;
    more.querySelector("span").textContent = `The first ${this.spans.size.toLocaleString("en")} spans are shown.`;
  }

  // Ways to look at it, and what people do

  /** Without spans, cards say more than an empty tree. */
  #choice() {
    if (this.pinned || this.view === "steps" || this.spans.size || !this.steps.length) return;
    this.pinned = true;
    this.#as("steps");
  }

  #as(view) {
    this.view = view;
    this.tree.hidden = view === "steps";
    byId("trace-steps").hidden = view !== "steps";
    byId("trace-folds").hidden = view === "steps" || !this.model?.nodes.size;
    for (const name of ["tree", "steps"]) {
      const link = byId(`trace-as-${name}`);
      if (name === view) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
    this.page.dispatchEvent(new CustomEvent("kodosumi:trace", { detail: view }));
    if (view === "tree") this.#look();
  }

  #address() {
    const address = new URLSearchParams({ tab: "trace" });
    if (this.view === "steps") address.set("view", "steps");
    if (this.opened !== null) address.set("span", this.opened);
    history.replaceState(null, "", `${this.here}?${address}`);
    byId("tab-trace").search = address;
  }

  #controls() {
    for (const view of ["tree", "steps"]) {
      byId(`trace-as-${view}`).addEventListener("click", (click) => {
        if (click.ctrlKey || click.metaKey || click.shiftKey) return;
        click.preventDefault();
        this.pinned = true;
        this.#as(view);
        this.#address();
      });
    }
    WIDE.addEventListener("change", () => this.#cover(byId("trace-details")));
    this.tools.addEventListener("submit", (submit) => submit.preventDefault());
    this.tools.addEventListener("change", ({ target }) => {
      if (target.name === "log" && target.checked) this.#moreSteps().then(() => this.#draw(), () => {});
      else if (target.name === "log") this.#draw();
      else this.#show();
    });
    this.tools.addEventListener("input", ({ target }) => target.name === "q" && this.#show());
    byId("trace-unfold").addEventListener("click", () => this.#foldAll(true));
    byId("trace-fold").addEventListener("click", () => this.#foldAll(false));
    byId("trace-more").querySelector("button").addEventListener("click", async () => {
      this.most += MOST;
      byId("trace-more").hidden = true;
      while (!this.complete && this.spans.size < this.most) await this.#page(PAGE);
      this.#draw();
      this.#more();
    });
    byId("trace-close").addEventListener("click", (click) => {
      if (click.ctrlKey || click.metaKey || click.shiftKey) return;
      click.preventDefault();
      this.close();
    });
    this.tree.addEventListener("keydown", (key) => {
      if (key.key !== "Escape" || this.opened === null || key.target.matches("input")) return;
      key.preventDefault();
      this.close();
    });
    byId("trace-details").addEventListener("click", ({ target }) => {
      const button = target.closest("[data-copy-content], [data-copy-link]");
      if (button) this.#copy(button);
    });
  }

  async #copy(button) {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(await this.#copied(button));
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      notice("copy", "The browser did not let it be copied; select the text instead.");
    }
    setTimeout(() => (button.textContent = words), 2000);
  }

  async #copied(button) {
    if (button.dataset.copyLink !== undefined) return byId("trace-chosen").querySelector(".row-link").href;
    const answer = await ask(`${this.root}outputs/trace/${this.fid}/${encodeURIComponent(this.opened)}`);
    const value = (await answer.json())[button.dataset.copyContent];
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  }
}

/** By key, whether a node passes; those that do not are in it if something below them does. */
function keeping(nodes, passes) {
  const kept = new Map();
  for (const node of nodes.values()) {
    if (!passes(node)) continue;
    kept.set(node.key, true);
    for (let above = node.above; above && !kept.has(above.key); above = above.above) kept.set(above.key, passes(above));
  }
  return kept;
}
