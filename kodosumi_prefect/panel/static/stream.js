// One event stream that comes back by itself, behind the last event it brought.

const FIRST = 500; // ms before the first new try
const LONGEST = 10000; // ms between tries

/**
 * Follow `path`. Calls `event(kind, ts, html, seq)`, `reset()`, `ended()` and `state(connected)`.
 * The cursor is kept here and not by the browser, so that pausing loses and repeats nothing.
 */
export class Stream {
  constructor(path, cursor, kinds, calls) {
    this.path = path;
    this.cursor = cursor;
    this.kinds = kinds;
    this.calls = calls;
    this.over = false;
    this.pause = FIRST;
    this.source = null;
    this.timer = null;
  }

  open() {
    if (this.source || this.over) return;
    clearTimeout(this.timer);
    const source = new EventSource(`${this.path}?after=${this.cursor}`);
    this.source = source;
    source.onopen = () => {
      this.pause = FIRST;
      this.calls.state(true);
    };
    source.onerror = (problem) => {
      if (problem.data !== undefined) return; // an event of kind `error`, not a broken connection
      this.close();
      this.calls.state(false);
      this.timer = setTimeout(() => this.open(), this.pause);
      this.pause = Math.min(this.pause * 2, LONGEST);
    };
    for (const kind of this.kinds) {
      source.addEventListener(kind, (message) => {
        // A stream's own `error` events share their name with a broken connection.
        if (message.data === undefined) return;
        this.cursor = Number(message.lastEventId);
        const colon = message.data.indexOf(":");
        const ts = Number(message.data.slice(0, colon));
        this.calls.event(kind, ts, message.data.slice(colon + 1), this.cursor);
      });
    }
    source.addEventListener("reset", () => {
      this.cursor = 0;
      this.calls.reset();
    });
    source.addEventListener("eof", (message) => {
      this.cursor = Math.max(this.cursor, Number(message.lastEventId));
      this.over = true;
      this.close();
      this.calls.ended();
    });
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  /** The execution runs again. */
  resume() {
    this.over = false;
    this.open();
  }
}
