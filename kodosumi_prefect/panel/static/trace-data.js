// What the Trace tab knows of a run: spans by the page and what changed of them, steps, task runs.
import { ask } from "./frame.js";

const FIRST = 1000; // spans of the first answer, which is painted at once
const PAGE = 5000; // spans of a further one
const MOST_STEPS = 2000; // steps that are loaded
const MOST_LINES = 3000; // likewise lines of the log
const TASKS_PAUSE = 10000; // ms between looks at the task runs

export class TraceData {
  /** `address` is what spans and steps lie below, `tasksAddress` has the task runs. */
  constructor(address, tasksAddress) {
    Object.assign(this, { address, tasksAddress, tasks: [], tasksAt: -Infinity });
    this.spans = new Map();
    this.clear();
  }

  clear() {
    this.spans.clear();
    this.steps = [];
    this.lines = [];
    this.complete = false; // whether all spans up to `seq` are here
    this.after = 0; // behind which further pages begin
    this.seq = 0; // up to which changes are known
    this.behind = { steps: 0, lines: 0 };
  }

  /** The first page, in the order in which spans were first heard of. */
  async first() {
    await this.#page(FIRST);
  }

  /** Further pages until there are `most` spans, or no more. */
  async rest(most) {
    while (!this.complete && this.spans.size < most) await this.#page(PAGE);
  }

  /** What events behind the last look say of spans. */
  async changes() {
    let [after, seq, answer] = [0, null, null];
    do {
      answer = await this.#ask(`spans?changed=${this.seq}&after=${after}&limit=${PAGE}`);
      seq ??= answer.seq;
      this.#take(answer, this.complete ? Infinity : this.after);
      after = answer.next;
    } while (answer.more);
    this.seq = Math.max(this.seq, seq);
  }

  async moreSteps() {
    await this.#more("steps", "", MOST_STEPS);
  }

  async moreLines() {
    await this.#more("lines", "&log=true", MOST_LINES);
  }

  async moreTasks() {
    if (performance.now() - this.tasksAt < TASKS_PAUSE) return;
    this.tasksAt = performance.now();
    const answer = await ask(this.tasksAddress);
    if (answer.ok) this.tasks = (await answer.json()).items;
  }

  /** Words for what is left out for its number; empty if nothing is. */
  leftOut() {
    const counted = (list, most, words) => (list.length >= most ? [`the first ${list.length.toLocaleString("en")} ${words}`] : []);
    const parts = [...counted(this.steps, MOST_STEPS, "steps"), ...counted(this.lines, MOST_LINES, "log lines")];
    return parts.length ? `Only ${parts.join(" and ")} are shown here; all are under “Steps” and in the log.` : "";
  }

  async #page(limit) {
    const answer = await this.#ask(`spans?after=${this.after}&limit=${limit}`);
    this.#take(answer);
    if (!this.seq) this.seq = answer.seq;
    this.after = answer.next;
    this.complete = !answer.more;
  }

  async #more(name, query, most) {
    for (let more = true; more && this[name].length < most; ) {
      const answer = await this.#ask(`steps?after=${this.behind[name]}${query}`);
      this[name].push(...answer.items);
      this.behind[name] = answer.next;
      more = answer.more;
    }
  }

  async #ask(path) {
    const answer = await ask(`${this.address}/${path}`);
    if (!answer.ok) throw new Error(`the panel answers ${answer.status}`);
    return answer.json();
  }

  /** `upTo`: only spans that were first heard of by then, as those behind come by further pages. */
  #take({ columns, rows }, upTo = Infinity) {
    for (const values of rows) {
      const span = {};
      for (let n = 0; n < columns.length; n += 1) span[columns[n]] = values[n];
      if (span.first_seq <= upTo) this.spans.set(span.id, span);
    }
  }
}
