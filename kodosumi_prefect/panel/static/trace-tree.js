// Spans, task runs, questions and steps of a run as one tree: who lies below whom, when, and what it
// took in all. Nothing here knows the page.

const SKEW = 60; // s by which a span may lie outside what it is part of before its clock counts as wrong

/**
 * Build the tree.
 *
 * `spans` are rows of `/trace/spans` by id, `tasks` items of `/outputs/tasks`, `steps` items of
 * `/trace/steps`, `run` is `{began, ended, now}` in epoch seconds, `ended` null while it goes on.
 * Answers `{roots, nodes, from, to}`: nodes by key, and from when to when they last. Each node has
 * `from` and `to` on the axis, `sum` of all that is counted in it and below it, `own` of itself.
 */
export function build({ spans, tasks, steps, run }) {
  const nodes = new Map();
  for (const span of spans.values()) nodes.set(span.id, spanNode(span));
  const inTask = withTasks(nodes, spans, tasks);
  withSteps(nodes, spans, steps, inTask, run);
  let roots = linked(nodes);
  roots = byAttempt(roots, nodes);
  const order = inOrder(roots);
  placeInTime(order, run, ends(nodes, run));
  for (const node of order) node.children.sort(earlier);
  roots.sort((a, b) => (a.kind === "attempt" && b.kind === "attempt" ? a.attempt - b.attempt : earlier(a, b)));
  number(roots);
  addUp(order);
  const from = Math.min(...bounds(order, "from", Infinity), Infinity);
  const to = Math.max(...bounds(order, "to", -Infinity), -Infinity);
  markCritical(roots, to);
  return { roots, nodes, from, to: Math.max(to, from) };
}

/** Nodes one below the other as a reader sees them; `open(node)` tells whether what is below shows. */
export function inOrder(roots, open = () => true) {
  const order = [];
  const left = [...roots].reverse();
  while (left.length) {
    const node = left.pop();
    order.push(node);
    if (!node.children.length || !open(node)) continue;
    for (let n = node.children.length - 1; n >= 0; n -= 1) left.push(node.children[n]);
  }
  return order;
}

const earlier = (a, b) => a.from - b.from || a.seq - b.seq;
const nothing = () => ({ input: 0, output: 0, cost: 0, unpriced: 0, calls: 0, errors: 0 });

/** The extreme of a field, in a list that `Math.min` takes whatever the length. */
function bounds(order, field, start) {
  let most = start;
  for (const node of order) {
    const value = node[field];
    if (value !== null && (field === "from" ? value < most : value > most)) most = value;
  }
  return [most];
}

function node(kind, key, more) {
  return {
    kind, key, type: kind, name: "", model: "", parent: null, children: [], seq: 0, attempt: 1, began: null, ended: null,
    over: true, failed: false, error: "", own: null, sum: nothing(), from: null, to: null, shift: 0, backwards: false,
    critical: false, depth: 0, at: 0, of: 0, ...more,
  };
}

function spanNode(span) {
  const used = span.input_tokens !== null || span.output_tokens !== null || span.cost !== null;
  return node("span", span.id, {
    type: span.type,
    name: span.name,
    model: span.model && span.model !== span.name ? span.model : "",
    parent: span.parent,
    seq: span.first_seq,
    attempt: span.attempt,
    began: span.began,
    ended: span.ended,
    over: span.end_seq !== null,
    failed: span.status === "error",
    cancelled: span.status === "cancelled",
    error: span.error ?? "",
    own: used ? { input: span.input_tokens ?? 0, output: span.output_tokens ?? 0, cost: span.cost, counted: span.counted } : null,
    begin: span.begin_seq ?? span.end_seq,
    end: span.end_seq,
    task: span.task_run,
  });
}

/** Task runs where what they did lies: below the span that began them. Answers them by id. */
function withTasks(nodes, spans, tasks) {
  const known = new Map();
  for (const task of tasks) {
    known.set(task.id, node("task", `~task-${task.id}`, {
      type: "task",
      name: task.name || task.id,
      began: seconds(task.start_time),
      ended: seconds(task.end_time),
      over: task.end_time !== null || task.state_type === null,
      untimed: task.end_time === null,
      failed: task.state_type === "FAILED" || task.state_type === "CRASHED",
      cancelled: task.state_type === "CANCELLED",
      seq: Number.MAX_SAFE_INTEGER,
      attempt: null,
    }));
  }
  const above = new Map(); // by task run, the span that began it
  for (const span of [...spans.values()].sort((a, b) => a.first_seq - b.first_seq)) {
    const task = known.get(span.task_run);
    if (!task) continue;
    const outer = spans.get(span.parent);
    if (outer?.task_run === span.task_run) continue;
    if (!above.has(span.task_run)) {
      above.set(span.task_run, span.parent);
      Object.assign(task, { parent: span.parent, seq: span.first_seq - 0.5, attempt: span.attempt });
    }
    if (above.get(span.task_run) === span.parent) nodes.get(span.id).parent = task.key;
    // Where Prefect tells no time, what it did does.
    if (task.began === null || span.began < task.began) task.began ??= span.began;
  }
  for (const task of known.values()) {
    if (task.began === null && task.attempt === null) continue; // nothing tells where it belongs
    nodes.set(task.key, task);
  }
  return known;
}

const seconds = (iso) => (iso ? Date.parse(iso) / 1000 : null);

/** Questions, steps and lines below the span that was open when they were written. */
function withSteps(nodes, spans, steps, inTask, run) {
  if (!steps.length) return;
  const begun = [...spans.values()].map((span) => [span.begin_seq ?? span.first_seq, span]);
  begun.sort((a, b) => a[0] - b[0]);
  const open = new Map(); // by task run, spans that are open, the innermost last
  const waits = new Map(); // by lock
  let next = 0;
  for (const step of steps) {
    for (; next < begun.length && begun[next][0] < step.seq; next += 1) {
      const [, span] = begun[next];
      if (!open.has(span.task_run)) open.set(span.task_run, []);
      open.get(span.task_run).push(span);
    }
    if (step.kind === "lease") {
      answered(waits.get(step.lid), step);
      continue;
    }
    const around = open.get(step.task) ?? [];
    while (around.length && around.at(-1).end_seq !== null && around.at(-1).end_seq < step.seq) around.pop();
    const task = inTask.get(step.task);
    const above = around.at(-1)?.id ?? (task && nodes.has(task.key) ? task.key : null);
    const asks = step.kind === "lock";
    const made = node(asks ? "wait" : "step", `~event-${step.seq}`, {
      type: asks ? "wait" : "step",
      icon: asks ? "wait" : `step-${step.kind}`,
      log: ["stdout", "stderr", "debug", "upload"].includes(step.kind),
      name: asks ? `Waits for “${step.words}”` : step.words || step.kind,
      word: step.kind,
      parent: above,
      seq: step.seq,
      attempt: step.attempt,
      began: step.ts,
      ended: asks ? null : step.ts,
      over: !asks,
      failed: step.kind === "error",
      waits: asks,
    });
    nodes.set(made.key, made);
    if (asks) waits.set(step.lid, made);
  }
  if (run.ended !== null) for (const wait of waits.values()) wait.ended ??= run.ended;
}

function answered(wait, lease) {
  if (!wait || wait.over) return;
  const how = lease.state && lease.state !== "leased" ? lease.state : "answered";
  Object.assign(wait, { ended: lease.ts, over: true, outcome: how });
}

/** Put each below its parent; who has none that is known, or would be its own ancestor, is a root. */
function linked(nodes) {
  const roots = [];
  const settled = new Set();
  for (const each of nodes.values()) {
    let one = each;
    const met = new Set();
    while (one && !settled.has(one.key)) {
      if (met.has(one.key)) {
        one.parent = null;
        break;
      }
      met.add(one.key);
      one = one.parent === null ? undefined : nodes.get(one.parent);
    }
    for (const key of met) settled.add(key);
  }
  for (const each of nodes.values()) {
    const parent = each.parent === null ? undefined : nodes.get(each.parent);
    if (parent) parent.children.push(each);
    else roots.push(each);
    each.above = parent ?? null;
  }
  return roots;
}

/** Of several attempts each is a row, with what it did below it. */
function byAttempt(roots, nodes) {
  const first = roots.find((root) => root.attempt !== null)?.attempt ?? 1;
  const several = roots.some((root) => root.attempt !== null && root.attempt !== first);
  if (!several) return roots;
  const attempts = new Map();
  const sorted = [...roots].sort((a, b) => (a.began ?? 0) - (b.began ?? 0));
  let last = Math.min(...new Set(sorted.map((root) => root.attempt ?? Infinity)));
  for (const root of sorted) {
    const number = root.attempt ?? last; // a task run without spans: whichever goes on
    last = number;
    if (!attempts.has(number)) {
      attempts.set(number, node("attempt", `~attempt-${number}`, { type: "attempt", name: `Attempt ${number}`, attempt: number }));
    }
    const attempt = attempts.get(number);
    attempt.children.push(root);
    root.above = attempt;
  }
  for (const attempt of attempts.values()) nodes.set(attempt.key, attempt);
  return [...attempts.values()];
}

/** By attempt, when the next one began, until which what has no end can have lasted at most. */
function ends(nodes, run) {
  const began = new Map();
  for (const { attempt, began: at } of nodes.values()) {
    if (attempt !== null && at !== null) began.set(attempt, Math.min(began.get(attempt) ?? Infinity, at));
  }
  const last = run.ended ?? run.now;
  return (attempt, from) => {
    let end = last;
    if (began.size > 1) for (const [other, at] of began) if (other > attempt && at > from) end = Math.min(end, at);
    return Math.max(end, from);
  };
}

/** Whether the clocks of most roots agree with the run's own, so that others may be called wrong. */
function agreeing(order, run) {
  const tops = order.filter((each) => each.kind === "span" && (!each.above || each.above.kind === "attempt"));
  const far = tops.filter(({ began }) => began !== null && (began < run.began - SKEW || began > (run.ended ?? run.now) + SKEW));
  return far.length * 2 < tops.length;
}

/** When each lasted, on one axis. A clock that is wrong is set right by what it lies in. */
function placeInTime(order, run, endOf) {
  const now = run.ended ?? run.now;
  const known = agreeing(order, run);
  for (const each of order) {
    const above = each.above;
    each.depth = above ? above.depth + 1 : 0;
    if (each.kind === "attempt") continue; // lasts as long as what is below it
    const outer = above && above.kind !== "attempt" ? above : null;
    each.shift = outer ? outer.shift : 0;
    const start = each.began ?? each.ended ?? outer?.from ?? run.began;
    each.backwards = each.began !== null && each.ended !== null && each.ended < each.began;
    const end = each.backwards ? start : each.ended;
    const [low, high] = outer ? [outer.from, outer.over ? outer.to : now] : [run.began, now];
    const within = each.kind === "span" && (outer ? outer.kind !== "span" || begunWithin(each, outer) : known);
    const [from, to] = [start + each.shift, (end ?? start) + each.shift];
    if (within && (to < low - SKEW || from > high + SKEW)) {
      each.shift += low - from;
      each.skewed = low - from;
    }
    each.from = start + each.shift;
    each.to = end === null ? endOf(each.attempt ?? Infinity, each.from) : Math.max(end + each.shift, each.from);
    each.open = end === null;
  }
  for (let n = order.length - 1; n >= 0; n -= 1) {
    const each = order[n];
    // Of an attempt, and of a task run whose end nobody told, what lies below tells when it was.
    if (each.kind !== "attempt" && !(each.untimed && each.children.length)) continue;
    let [from, to] = [each.from ?? Infinity, -Infinity];
    for (const child of inOrder(each.children)) [from, to] = [Math.min(from, child.from), Math.max(to, child.to)];
    Object.assign(each, { from, to, open: each.kind === "task" && run.ended === null });
  }
}

/** Whether the order of events says that it began while the other was open. */
const begunWithin = (each, outer) => each.begin >= outer.begin && (outer.end === null || each.begin <= outer.end);

function number(roots) {
  const lists = [roots];
  while (lists.length) {
    const list = lists.pop();
    list.forEach((each, n) => {
      each.at = n + 1;
      each.of = list.length;
      if (each.children.length) lists.push(each.children);
    });
  }
}

/** Of each node what is counted in it and below it; each usage counts in one place only. */
function addUp(order) {
  for (let n = order.length - 1; n >= 0; n -= 1) {
    const { own, sum, above, type, kind, failed } = order[n];
    if (own?.counted) {
      sum.input += own.input;
      sum.output += own.output;
      if (own.cost === null) sum.unpriced += 1;
      else sum.cost += own.cost;
    }
    if (own?.counted) sum.calls += 1;
    if (failed && kind === "span") sum.errors += 1;
    if (type === undefined || !above) continue;
    for (const key of Object.keys(sum)) above.sum[key] += sum[key];
  }
}

/** What the end depended on: from the end backwards, what ended last before that. */
function markCritical(roots, end) {
  const left = [[{ children: roots, from: -Infinity, to: end, kind: "run" }, end]];
  while (left.length) {
    const [each, until] = left.pop();
    each.critical = true;
    let t = Math.min(each.to, until);
    const last = t;
    const children = each.children.filter((child) => child.kind !== "step").sort((a, b) => b.to - a.to);
    for (const child of children) {
      if (child.from >= t && child.to > child.from) continue;
      if (child.to > t && t < last) continue; // beside what is on the path already
      left.push([child, t]);
      t = Math.max(Math.min(t, child.from), each.from);
    }
  }
}
