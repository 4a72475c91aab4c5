// Fields for files: each is uploaded when it is chosen, in pieces that are sent again where they
// were lost; the form that holds the field is sent once all of them are there.
import { announce, ask } from "./frame.js";

const CHUNK = 4 * 1024 * 1024; // bytes of a piece
const AT_ONCE = 4; // pieces on their way, of all files of the page
const PAUSE = 1000; // ms until a piece that was lost is sent again; longer each time
const LONGEST = 15000; // ms
const LOOKS = 20; // questions whether an uploaded file was accepted
const LASTING = new Set([401, 408, 425, 429, 500, 502, 503, 504]); // answers that may be others later

const root = document.body.dataset.root;
const fields = new Set();
let free = AT_ONCE;
const queue = [];

class Refused extends Error {}
class Gone extends Error {}

/** Resolves once a piece may be sent. */
function turn(first) {
  if (free > 0) {
    free -= 1;
    return Promise.resolve();
  }
  return new Promise((resolve) => (first ? queue.unshift(resolve) : queue.push(resolve)));
}

function done() {
  const next = queue.shift();
  if (next) next();
  else free += 1;
}

/** Resolves after a while, or as soon as the network is back. */
function pause(tries, signal) {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      removeEventListener("online", end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(PAUSE * 2 ** tries, LONGEST));
    addEventListener("online", end);
    signal.addEventListener("abort", end);
  });
}

/** One request; null if it has to be made again, an error if that makes no difference. */
async function request(method, path, body, signal) {
  let answer;
  try {
    const json = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    answer = await ask(`${root}${path}`, { method, signal, ...json });
  } catch (problem) {
    if (signal?.aborted) throw problem;
    return null;
  }
  if (answer.status === 204) return {};
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  if (LASTING.has(answer.status)) return null;
  throw answer.status === 404 ? new Gone(content.detail) : new Refused(content.detail ?? `status ${answer.status}`);
}

/** Send a piece; whether it arrived. `progress` is told how many bytes of it are sent. */
function send(upload, number, piece, signal, progress) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const form = new FormData();
    form.append("upload_id", upload);
    form.append("chunk_number", number);
    form.append("chunk", piece, "blob");
    const abort = () => sending.abort();
    signal.addEventListener("abort", abort);
    sending.upload.onprogress = (event) => progress(Math.min(event.loaded, piece.size));
    sending.onloadend = () => {
      signal.removeEventListener("abort", abort);
      if (sending.status >= 200 && sending.status < 300) return resolve(true);
      if (!sending.status || LASTING.has(sending.status)) return resolve(false);
      let detail;
      try {
        detail = JSON.parse(sending.responseText).detail;
      } catch {
        detail = `status ${sending.status}`;
      }
      reject(sending.status === 404 ? new Gone(detail) : new Refused(detail));
    };
    sending.open("POST", `${root}files/chunk`);
    sending.send(form);
  });
}

function bytes(size) {
  if (size === 1) return "1 byte";
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let unit = 0;
  for (; size >= 1024 && unit < units.length - 1; unit += 1) size /= 1024;
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

/** Whether `accept` lists files like this one; of unknown type, suffixes alone decide. */
function accepted(accept, file, name) {
  const tokens = accept.toLowerCase().split(",").map((each) => each.trim()).filter(Boolean);
  if (!tokens.length || tokens.some((each) => each.startsWith(".") && name.toLowerCase().endsWith(each))) return true;
  const types = tokens.filter((each) => !each.startsWith("."));
  if (!file.type) return types.length > 0;
  return types.some((each) => ["*", "*/*", file.type, file.type.replace(/\/.*/, "/*")].includes(each));
}

/** The files of what was dropped, those in folders too, with their paths. */
async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ file, name: file.name }));
  const found = [];
  async function walk(entry) {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      found.push({ file, name: entry.fullPath.replace(/^\//, "") });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const each of some) await walk(each);
    }
  }
  for (const entry of entries) await walk(entry);
  return found;
}

/** A file of a field: its line in the list, and its way to the panel. */
class Sent {
  constructor(field, name, file) {
    this.field = field;
    this.name = name;
    this.file = file;
    this.state = "waiting";
    this.id = null;
    this.line = document.createElement("li");
    this.line.innerHTML =
      '<span class="name"></span> <span class="sub size"></span> <progress max="1" value="0"></progress> ' +
      '<span class="state"></span> <button type="button" class="again" hidden>Try again</button> ' +
      '<button type="button" class="remove"></button>';
    this.part(".name").textContent = name;
    this.part(".size").textContent = file ? bytes(file.size) : "";
    this.part("progress").setAttribute("aria-label", `Upload of ${name}`);
    this.part(".again").setAttribute("aria-label", `Try again to upload ${name}`);
    this.part(".again").addEventListener("click", () => this.start());
    this.part(".remove").addEventListener("click", () => this.field.remove(this));
    this.set("waiting", "");
  }

  part(selector) {
    return this.line.querySelector(selector);
  }

  get chunks() {
    return this.file ? Math.ceil(this.file.size / CHUNK) : this.total;
  }

  get pending() {
    return this.state === "waiting" || this.state === "uploading";
  }

  set(state, text) {
    this.state = state;
    this.line.dataset.state = state;
    this.part(".state").textContent = text;
    this.part("progress").hidden = !this.pending;
    this.part(".again").hidden = state !== "failed" || !this.file;
    const word = this.pending ? "Cancel" : "Remove";
    this.part(".remove").textContent = word;
    this.part(".remove").setAttribute("aria-label", `${word} ${this.name}`);
    this.field.changed();
  }

  start() {
    this.stopping = new AbortController();
    this.set("uploading", "");
    this.going = this.go(this.stopping.signal);
  }

  async go(signal) {
    try {
      await this.upload(signal);
      if (signal.aborted) return;
      this.set("done", "uploaded");
      this.field.say(`${this.name} is uploaded.`);
      await this.look(signal);
    } catch (problem) {
      if (signal.aborted) return;
      this.fail(problem.message);
    }
  }

  fail(why) {
    this.cancel();
    this.set("failed", why);
    this.field.status.textContent = "";
    announce(`${this.name} is not uploaded: ${why}`); // its line shows that
  }

  async upload(signal) {
    for (let again = false; !signal.aborted; again = true) {
      const batch = await this.field.open(signal);
      try {
        const body = { filename: this.name, total_chunks: this.chunks, size: this.file.size, batch_id: batch };
        // Not given up half-way: what the panel has begun, it must be told to forget.
        this.id = (await this.insist("POST", "files/init", body, signal, null)).upload_id;
        if (signal.aborted) return await this.cancel();
        await this.sendAll(signal);
        return;
      } catch (problem) {
        if (!(problem instanceof Gone) || again) throw problem;
        if (this.id === null) this.field.expired(batch);
        this.id = null;
      }
    }
  }

  async sendAll(signal) {
    const left = [...Array(this.chunks).keys()];
    const sent = new Map();
    const show = () => {
      const size = [...sent.values()].reduce((sum, each) => sum + each, 0);
      this.part("progress").value = this.file.size ? size / this.file.size : 1;
    };
    let lost = 0;
    let failure = null;
    const work = async () => {
      while (left.length && !failure && !signal.aborted) {
        await turn(lost > 0);
        const number = left.shift();
        if (number === undefined || failure || signal.aborted) {
          done();
          continue;
        }
        const piece = this.file.slice(number * CHUNK, (number + 1) * CHUNK);
        let arrived = false;
        try {
          arrived = await send(this.id, number, piece, signal, (size) => {
            sent.set(number, size);
            show();
          });
        } catch (problem) {
          failure = problem;
        } finally {
          done();
        }
        sent.set(number, arrived ? piece.size : 0);
        show();
        if (arrived) {
          if (lost) this.part(".state").textContent = "";
          lost = 0;
        } else if (!failure && !signal.aborted) {
          left.unshift(number);
          this.part(".state").textContent = "waiting for the panel; it goes on by itself";
          await pause(lost, signal);
          lost += 1;
          if (!signal.aborted) await this.resume(left, sent, signal);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, this.chunks) }, work));
    if (failure) throw failure;
  }

  /** Leave out what has arrived although nobody heard of it. */
  async resume(left, sent, signal) {
    const known = await request("GET", `files/upload/${this.id}`, null, signal);
    for (const number of known?.chunks ?? []) {
      const place = left.indexOf(number);
      if (place >= 0) left.splice(place, 1);
      sent.set(number, Math.min(CHUNK, this.file.size - number * CHUNK));
    }
  }

  /** Wait until the panel has looked at the file; it may refuse it. */
  async look(signal) {
    for (let tries = 0; tries < LOOKS && !signal.aborted; tries += 1) {
      const known = await request("GET", `files/upload/${this.id}`, null, signal);
      if (known?.refused) throw new Refused(known.refused);
      if (!known || known.size !== null) return;
      await pause(0, signal);
    }
  }

  async insist(method, path, body, signal, of_request = signal) {
    for (let tries = 0; ; tries += 1) {
      const answer = await request(method, path, body, of_request);
      if (answer) {
        this.part(".state").textContent = "";
        return answer;
      }
      this.part(".state").textContent = "waiting for the panel; it goes on by itself";
      await pause(tries, signal);
      if (signal.aborted) throw new DOMException("stopped", "AbortError");
    }
  }

  /** Have the panel forget it; another file of its name may come then. */
  cancel() {
    if (!this.id) return;
    const leaving = request("DELETE", `files/cancel/${this.id}`);
    this.field.leaving = Promise.allSettled([this.field.leaving, leaving]);
    this.id = null;
    return leaving;
  }

  stop() {
    this.stopping?.abort();
    this.cancel();
    this.field.leaving = Promise.allSettled([this.field.leaving, this.going]);
  }
}

class FileField {
  constructor(box) {
    this.box = box;
    this.input = box.querySelector("input[type=file]");
    this.value = box.querySelector("input[type=hidden]");
    this.list = box.querySelector(".chosen");
    this.status = box.querySelector("[role=status]");
    this.required = "required" in box.dataset;
    this.several = "several" in box.dataset;
    this.batch = null;
    this.leaving = null; // resolves once the panel has forgotten what was removed
    this.files = [];
    this.list.replaceChildren();
    this.input.removeAttribute("name"); // the form names uploads in place of files
    this.restore();
    this.input.addEventListener("change", () => {
      const chosen = [...this.input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name }));
      this.input.value = ""; // the same file may be chosen again
      this.add(chosen);
    });
    box.addEventListener("dragover", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      box.classList.add("over");
    });
    box.addEventListener("dragleave", (event) => {
      if (!box.contains(event.relatedTarget)) box.classList.remove("over");
    });
    box.addEventListener("drop", async (event) => {
      event.preventDefault();
      box.classList.remove("over");
      this.add(await dropped(event.dataTransfer));
    });
  }

  /** What a form shows again that was sent before. */
  restore() {
    let known;
    try {
      known = JSON.parse(this.value.value || "{}");
    } catch {
      known = {};
    }
    this.batch = known.batchId ?? null;
    this.again = known.again?.fid ?? null;
    for (const [id, item] of Object.entries(known.items ?? {})) this.show(item.filename, id, "uploaded", item.totalChunks);
    for (const name of known.again?.names ?? []) this.show(name, null, "of the earlier run");
    this.changed();
  }

  show(name, id, text, total) {
    const sent = new Sent(this, name, null);
    Object.assign(sent, { id, total });
    this.files.push(sent);
    this.list.append(sent.line);
    sent.set("done", text);
  }

  add(chosen) {
    if (!chosen.length) return;
    const complaints = [];
    if (!this.several) {
      chosen = chosen.slice(0, 1);
      for (const each of [...this.files]) this.remove(each, true);
    }
    const { accept, maxBytes, maxFiles } = this.box.dataset;
    for (const { file, name } of chosen) {
      if (accept && !accepted(accept, file, name)) complaints.push(`${name}: only ${accept}`);
      else if (maxBytes && file.size > Number(maxBytes)) complaints.push(`${name}: ${bytes(file.size)}, at most ${bytes(Number(maxBytes))}`);
      else if (maxFiles && this.files.length >= Number(maxFiles)) complaints.push(`${name}: at most ${maxFiles} files`);
      else if (this.files.some((each) => each.name === name)) complaints.push(`${name}: is there already`);
      else {
        const sent = new Sent(this, name, file);
        this.files.push(sent);
        this.list.append(sent.line);
        sent.start();
      }
    }
    this.changed();
    this.touched();
    this.box.querySelector(".not-taken").textContent = complaints.length ? `Not taken: ${complaints.join("; ")}` : "";
  }

  remove(sent, quietly = false) {
    const place = this.files.indexOf(sent);
    this.files.splice(place, 1);
    sent.stop();
    sent.line.remove();
    this.changed();
    this.touched();
    if (quietly) return;
    this.say(`${sent.name} is removed.`);
    const next = this.files[Math.min(place, this.files.length - 1)];
    (next ? next.part(".remove") : this.input).focus();
  }

  /** The batch that files of this field are sent in. */
  async open(signal) {
    await this.leaving;
    if (this.batch !== null) return this.batch;
    this.opening ??= (async () => {
      for (let tries = 0; ; tries += 1) {
        const answer = await request("POST", "files/init_batch");
        if (answer) return answer.batch_id;
        await pause(tries, signal);
      }
    })();
    try {
      this.batch = await this.opening;
    } finally {
      this.opening = null;
    }
    return this.batch;
  }

  /** The panel no longer has a batch, and nothing of what was sent in it. */
  expired(batch) {
    if (this.batch !== batch) return;
    this.batch = null;
    for (const each of this.files) {
      if (each.state !== "done" || !each.id) continue;
      each.id = null;
      if (each.file) each.start();
      else each.set("failed", "is no longer there; choose it again");
    }
  }

  changed() {
    const items = {};
    const names = [];
    for (const each of this.files) {
      if (each.state !== "done") continue;
      if (each.id) items[each.id] = { filename: each.name, totalChunks: each.chunks };
      else names.push(each.name);
    }
    const value = { batchId: this.batch, items };
    if (names.length) value.again = { fid: this.again, names };
    this.value.value = names.length || Object.keys(items).length ? JSON.stringify(value) : "";
    this.input.required = this.required && !this.files.length;
    this.box.toggleAttribute("data-changed", this.files.length > 0);
    settle();
  }

  /** What was wrong with the field is no longer true. */
  touched() {
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
  }

  get pending() {
    return this.files.filter((each) => each.pending).length;
  }

  get failed() {
    return this.files.filter((each) => each.state === "failed");
  }

  say(text) {
    const pending = this.pending;
    this.status.textContent = text + (pending ? ` ${pending} of ${this.files.length} are on their way.` : "");
  }
}

let held = null; // a form that is sent once its files are there

/** The fields whose files go with a form. */
function fieldsOf(form) {
  const other = form.getAttribute("hx-include");
  const forms = [form, ...(other && other !== "this" ? document.querySelectorAll(other) : [])];
  return [...fields].filter((field) => forms.some((each) => each.contains(field.box)));
}

function settle() {
  if (!held || fieldsOf(held.form).some((field) => field.pending)) return;
  const { form, submitter } = held;
  release();
  if (form.isConnected && !fieldsOf(form).some((field) => field.failed.length)) form.requestSubmit(submitter);
}

function release() {
  held?.submitter?.removeAttribute("aria-busy");
  held = null;
}

document.addEventListener(
  "submit",
  (event) => {
    const own = fieldsOf(event.target);
    const failed = own.find((field) => field.failed.length);
    const waiting = own.find((field) => field.pending);
    if (!failed && !waiting) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    release();
    if (failed) {
      failed.say("Try again to upload what failed, or remove it.");
      failed.failed[0].part(".remove").focus();
      return;
    }
    held = { form: event.target, submitter: event.submitter };
    event.submitter?.setAttribute("aria-busy", "true");
    waiting.say("The form is sent as soon as all files are uploaded.");
  },
  true,
);

// Back at a form that was sent: its files belong to that run.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const field of fields) {
    field.files = [];
    field.list.replaceChildren();
    field.batch = null;
    field.changed();
  }
});

function enhance() {
  for (const field of fields) {
    if (field.box.isConnected) continue;
    fields.delete(field);
    for (const each of field.files) if (each.pending) each.stop();
  }
  for (const box of document.querySelectorAll("[data-files]:not([data-ready])")) {
    box.dataset.ready = "";
    fields.add(new FileField(box));
  }
  settle();
}

new MutationObserver(enhance).observe(document.body, { childList: true, subtree: true });
enhance();
