// Above the log and the raw events: kinds, search, a point in time. Held in the page's address.

const HIGHLIGHTED = 2000; // ranges

/** Bring the forms to life; `shows(name, kind)` tells whether a pane shows events of a kind. */
export function tools(panes, here) {
  for (const name of ["log", "raw"]) {
    const form = document.getElementById(`${name}-tools`);
    const pane = panes[name];
    const start = new URL(location.href).searchParams;
    for (const key of ["task_run", "subflow"]) {
      if (start.get("tab") === name && start.get(key)) pane.filter.set(key, start.get(key));
    }
    setKinds(form, pane);
    form.querySelector("[data-plain]")?.setAttribute("hidden", "");
    for (const box of form.querySelectorAll("[name=kind], [name=order]")) {
      box.addEventListener("change", async () => {
        setKinds(form, pane);
        remember(form, pane, name, here);
        const top = pane.following ? null : firstSeen(pane);
        if (top) await pane.load({ around: top });
        else await Promise.resolve((pane.loaded = false)).then(() => pane.toEnd());
        mark(form, pane);
      });
    }
  }
  seek(document.getElementById("log-tools"), panes.log, here);
  return {
    shows: (name, kind) => {
      const kinds = panes[name].filter.getAll("kind");
      return !kinds.length || kinds.includes(kind);
    },
  };
}

function setKinds(form, pane) {
  pane.filter.delete("kind");
  for (const box of form.querySelectorAll("[name=kind]:checked")) pane.filter.append("kind", box.value);
  if (form.elements.order?.checked) pane.filter.set("order", "commit");
  else pane.filter.delete("order");
}

function remember(form, pane, name, here, more = {}) {
  const address = new URLSearchParams({ tab: name, ...more });
  for (const [key, value] of pane.filter) address.append(key, value);
  history.replaceState(null, "", `${here}?${address}`);
  document.getElementById(`tab-${name}`).search = address; // coming back to the tab finds it as it was
  if (name === "log") document.getElementById("log-file").search = new URLSearchParams(pane.filter);
}

/** The seq of the first event that is in sight. */
function firstSeen(pane) {
  const top = pane.screen.getBoundingClientRect().top;
  const visible = [...pane.list.querySelectorAll("[data-seq]")].find((item) => item.getBoundingClientRect().bottom > top);
  return visible?.dataset.seq;
}

function seek(form, pane, here) {
  const text = form.elements.q;
  const { time, offset } = form.elements;
  const count = document.getElementById("log-count");
  let match = form.elements.start?.value;
  let searched = text.value;
  localTime(time);
  pane.afterwards = () => mark(form, pane);
  mark(form, pane);

  async function search(turn) {
    if (text.value !== searched) match = undefined;
    searched = text.value;
    if (!searched) {
      count.textContent = "";
      remember(form, pane, "log", here);
      return mark(form, pane);
    }
    const hit = await pane.load({ q: searched, turn, ...(match && { start: match }) });
    if (!hit) return;
    match = hit.match || undefined;
    count.textContent = match ? `${hit.number} of ${hit.total}` : "not found";
    if (!match) pane.toEnd();
    remember(form, pane, "log", here, { q: searched });
    mark(form, pane);
  }

  /** To the offset that is typed, else to the time. */
  async function go() {
    const byTime = document.activeElement === time || !offset.value.trim();
    if (byTime && !time.value) return;
    const query = byTime ? { time: new Date(time.value).toISOString() } : { offset: offset.value };
    const hit = await pane.load(query);
    if (!hit) return;
    count.textContent = hit.match ? "" : byTime ? "no lines" : "write +90s or 1:30";
    if (hit.match) remember(form, pane, "log", here, { line: hit.match });
  }

  form.addEventListener("submit", (submit) => {
    submit.preventDefault();
    const turn = submit.submitter?.value;
    // Enter in another field submits by the first button, which is not meant.
    const elsewhere = [time, offset].includes(document.activeElement);
    if (elsewhere || !turn) go();
    else search(turn);
  });
  pane.list.addEventListener("click", (click) => {
    const at = click.target.closest("a.at");
    if (!at || click.ctrlKey || click.metaKey || click.shiftKey || click.button) return;
    click.preventDefault();
    const item = at.closest("li");
    pane.point(item);
    remember(form, pane, "log", here, { line: item.dataset.seq });
  });
  text.addEventListener("search", () => text.value || search("previous"));
}

/** The server writes UTC; people read their own zone. */
function localTime(field) {
  if (!field.value) return;
  const date = new Date(`${field.value}Z`);
  field.value = new Date(date - date.getTimezoneOffset() * 60000).toISOString().slice(0, 19);
}

/** Paint what was searched for wherever it stands in the list. */
function mark(form, pane) {
  if (!globalThis.Highlight) return;
  const words = form.elements.q?.value.toLowerCase();
  const ranges = [];
  if (words) {
    const walker = document.createTreeWalker(pane.list, NodeFilter.SHOW_TEXT);
    while (walker.nextNode() && ranges.length < HIGHLIGHTED) {
      const content = walker.currentNode.data.toLowerCase();
      for (let at = content.indexOf(words); at >= 0; at = content.indexOf(words, at + words.length)) {
        if (at + words.length > walker.currentNode.length) break; // some letters have longer small ones
        const range = new Range();
        range.setStart(walker.currentNode, at);
        range.setEnd(walker.currentNode, at + words.length);
        ranges.push(range);
      }
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}
