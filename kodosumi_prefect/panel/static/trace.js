// The Trace tab: loads spans by the page and what changed of them, draws them as a tree over time,
// and shows what one of them holds.
import { announce, ask, notice } from "./frame.js";
import { localise } from "./time.js";
import { TraceData } from "./trace-data.js";
import { Rows } from "./trace-rows.js";
import { build, inOrder } from "./trace-tree.js";

const MOST = 20000; // spans that are shown unless more are asked for
const PAUSE = 300; // ms at least between looks at what changed
const SHARE = 8; // of the time in between, how much longer it is than such a look took
const UNFOLDED = 400; // rows up to which all are unfolded at first
const FOLLOW = 160; // ms that the keyboard rests on a row before its details come
const LOG = ["stdout", "stderr", "debug", "upload"];
const WIDE = matchMedia("(min-width: 900px)");

const byId = (id) => document.getElementById(id);

export class Trace {
  constructor(page, here) {
    Object.assign(this, { page, here, root: page.dataset.root, fid: page.dataset.fid });
    this.tree = byId("trace-tree");
    this.tools = byId("trace-tools");
    this.data = new TraceData(`${here}/trace`, `${this.root}outputs/tasks/${this.fid}`);
    this.most = MOST;
    this.folds = new Map(); // by key, whether people folded or unfolded it
    this.began = false; // whether anything was asked for
    this.newest = 0; // the seq of the newest event that the stream brought
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

  /** The tab was opened. */
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
    if (LOG.includes(kind) && !this.tools.elements.log.checked) return;
    this.newest = Math.max(this.newest, seq);
    if (kind !== "span") this.stepped = true;
    if (!this.began) return;
    this.#later();
  }

  /** The run is over: what no event told of is looked up. */
  settle() {
    if (!this.began) return;
    this.data.tasksAt = -Infinity;
    // What a span counts for may have changed by others, of which no event tells: all once more.
    if (this.live && this.data.complete && this.data.spans.size <= MOST) this.data.seq = 0;
    this.#later();
  }

  clear() {
    this.newest = 0;
    this.data.clear();
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
      await this.data.first();
      this.#draw();
      const other = this.#other();
      await this.data.rest(this.most);
      this.#draw();
      await other;
      this.tree.dataset.loaded = this.data.complete ? "all" : "part";
    } catch {
      notice("trace", "The trace could not be loaded whole; reload the page to try again.");
    }
    this.#more();
    if (this.newest > this.data.seq || this.stepped) this.#later();
  }

  /** Steps and task runs, which come after the first spans. */
  async #other() {
    await Promise.all([this.#moreSteps(), this.data.moreTasks()]).catch(() => {});
    this.#draw();
  }

  async #moreSteps() {
    this.stepped = false;
    await this.data.moreSteps();
    if (this.tools.elements.log.checked) await this.data.moreLines();
  }

  #later() {
    this.timer ??= setTimeout(() => this.#look(), Math.max(PAUSE, (this.spent ?? 0) * SHARE));
  }

  /** What changed since the last look; nothing while nobody sees it. */
  async #look() {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.looking || !this.visible() || document.hidden) return;
    this.looking = true;
    const start = performance.now();
    try {
      if (this.newest > this.data.seq) {
        await this.data.changes();
        this.#totals();
      }
      await Promise.all([this.stepped && this.#moreSteps(), this.data.moreTasks()]);
      this.#draw();
      this.spent = performance.now() - start;
      this.#refreshDetails();
    } catch (problem) {
      console.warn(problem); // `ask` has told people of it
      this.spent = 1000;
    }
    this.looking = false;
    if (this.newest > this.data.seq || this.stepped) this.#later();
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
    const steps = [...this.data.steps, ...(this.tools.elements.log.checked ? this.data.lines : [])].sort((a, b) => a.seq - b.seq);
    this.model = build({ spans: this.data.spans, tasks: this.data.tasks, steps, run });
    this.live = run.ended === null;
    for (const node of this.model.nodes.values()) node.lost = !this.live && node.kind === "span" && node.ended === null;
    const any = this.model.nodes.size > 0;
    byId("trace-screen").hidden = !any;
    byId("trace-empty").hidden = any;
    for (const part of [this.tools, byId("trace-folds")]) part.hidden = !any;
    if (!any) return this.#choice();
    this.#typesThere();
    byId("trace-note").textContent = this.data.leftOut();
    byId("trace-note").hidden = !this.data.leftOut();
    this.#show();
    this.#choice();
    this.#tickWhileLive();
    if (this.wanted) this.#toWanted();
    this.tree.dataset.spans = this.data.spans.size;
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
      if (this.data.complete) {
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
    more.hidden = this.data.complete || this.data.spans.size < this.most;
    more.querySelector("span").textContent = `The first ${this.data.spans.size.toLocaleString("en")} spans are shown.`;
  }

  // Ways to look at it, and what people do

  /** Without spans, cards say more than an empty tree. */
  #choice() {
    if (this.pinned || this.view === "steps" || this.data.spans.size || !this.data.steps.length) return;
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
    if (new URL(location.href).searchParams.has("archived")) address.set("archived", "true");
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
      await this.data.rest(this.most);
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
    const words = [...button.childNodes];
    try {
      await navigator.clipboard.writeText(await this.#copied(button));
      button.textContent = "Copied";
      announce("Copied");
    } catch {
      notice("copy", "The browser did not let it be copied; select the text instead.");
    }
    setTimeout(() => button.replaceChildren(...words), 2000);
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
