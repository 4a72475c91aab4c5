// A window on a long list: it grows at its end while events come, moves by scrolling, and never
// holds more than a limited number of items.
import { ask } from "./frame.js";

const EDGE = 800; // px from an edge of the screen at which more is loaded
const WINDOW = 10; // s that an item goes ahead at most of one that was stored before it
const LATER_PAUSE = 400; // ms between looks for what the stream does not bring itself

/** An item's place in time; NaN, which is before and behind nothing, for a divider. */
const at = (item) => Number(item?.dataset.at);

/**
 * Items stand in the order of their times (`data-at`), as `stretch.py` has it; those without one,
 * in that of their seq. `first` and `last` bound what is shown without a gap: items are asked for
 * before the one and behind the other, and those that are shown already are left out.
 *
 * Items of the live stream come by `add`, or by `announce` if the server has to be asked for them, and
 * reach the page once a frame. What lies before or behind is loaded from `address`.
 */
export class Pane {
  constructor({ list, address, limit, build, screen, follow, newest }) {
    Object.assign(this, { list, address, limit, build, screen, follow, newest });
    this.filter = new URLSearchParams();
    this.loaded = "loaded" in list.dataset;
    this.first = Number(list.dataset.first) || null; // ask for what is before it; null: nothing
    this.last = this.#lastShown();
    this.atEnd = this.loaded && !list.dataset.last;
    this.catchingUp = false; // the rest is being loaded
    this.following = this.atEnd;
    this.queue = [];
    this.busy = false;
    this.round = 0; // which contents an answer was meant for
    this.localise = () => {};
    this.afterwards = () => {};
    this.#links();
    if (!list.firstElementChild) list.replaceChildren(); // so that :empty holds
    for (const [way, move] of [["earlier", () => this.earlier()], ["later", () => this.later()]]) {
      this.#way(way).querySelector("a").addEventListener("click", (click) => {
        click.preventDefault();
        move();
      });
    }
    if (screen) this.#scrolling();
    if (follow) {
      follow.hidden = false;
      follow.addEventListener("click", () => (this.following ? this.#setFollowing(false) : this.toEnd()));
      this.#setFollowing(this.following);
    }
  }

  /** Mark an item, and stay there. */
  point(item) {
    for (const other of this.list.querySelectorAll(".found")) {
      other.classList.remove("found");
      other.removeAttribute("id");
    }
    item.classList.add("found");
    item.id = "found";
    this.#setFollowing(false);
  }

  /** An event that the stream brought. */
  add(item) {
    this.newest = Math.max(this.newest, item.seq ?? 0);
    if (!this.atEnd) return;
    this.queue.push(item);
    if (this.queue.length > 2 * this.limit) this.queue.splice(0, this.queue.length - this.limit);
    if (this.queue.length > 1) return;
    // A hidden tab draws no frames; a timer comes there, too.
    const flush = () => this.queue.length && this.#flush();
    requestAnimationFrame(flush);
    setTimeout(flush, 250);
  }

  /** There is a further attempt, whose divider the server may have drawn already. */
  divide(attempt) {
    const dividers = [...this.list.querySelectorAll(":scope > .divider")];
    if (!dividers.some((each) => each.textContent.trim() === `Attempt ${attempt}`)) this.add({ attempt });
  }

  /** There is an event of ours with this seq, to be asked for. */
  announce(seq) {
    this.newest = Math.max(this.newest, seq);
    if (!this.atEnd) return;
    if (!this.following) return this.#leaveEnd();
    this.atEnd = false;
    if (this.visible()) this.#again();
  }

  visible() {
    return this.list.offsetParent !== null;
  }

  /** The tab was opened. */
  revealed() {
    if (!this.loaded || (this.following && !this.atEnd)) this.toEnd();
    else if (this.following) this.#scrollDown();
  }

  /** The newest events. */
  async toEnd() {
    if (this.loaded && this.atEnd) {
      this.#trimTop();
    } else if (!(await this.load({}))) {
      return;
    }
    this.#setFollowing(true);
    this.#scrollDown();
  }

  /** Show what `query` leads to instead; answers what the server told of it. */
  async load(query) {
    const result = await this.#fetch(query, true);
    if (!result) return null;
    this.queue = [];
    this.loaded = true;
    this.list.replaceChildren(...result.items);
    this.first = result.first;
    this.last = this.#lastShown();
    this.#reachedEnd(result);
    const match = this.list.querySelector(".found");
    if (match) {
      this.#setFollowing(false);
      if (this.screen) {
        const middle = (this.screen.clientHeight - match.offsetHeight) / 2;
        this.screen.scrollTop = match.offsetTop - Math.max(middle, 0);
      } else {
        match.scrollIntoView({ block: "center" });
      }
    }
    this.#links();
    return result;
  }

  async earlier() {
    if (this.busy || !this.first) return;
    const result = await this.#fetch({ before: this.first });
    if (!result) return;
    this.#keepingPlace(() => {
      this.#placeBefore(this.#unseen(result.items));
      this.first = result.first;
      if (this.list.childElementCount > this.limit) {
        this.queue = [];
        while (this.list.childElementCount > this.limit) {
          const seq = Number(this.list.lastElementChild.dataset.seq);
          if (seq) this.last = Math.min(this.last, seq - 1);
          this.list.lastElementChild.remove();
        }
        this.#leaveEnd();
      }
    });
    this.#links();
  }

  async later() {
    if (this.busy) return;
    const result = await this.#fetch({ after: this.last });
    if (!result) {
      this.catchingUp = false;
      return this.#links();
    }
    this.#keepingPlace(() => {
      this.#unseen(result.items).forEach((item) => this.#place(item));
      this.last = Math.max(this.last, this.#lastShown());
      this.#trimTop();
    });
    // Who follows wants the newest now, not all that is in between.
    if (result.last && this.following) return this.toEnd();
    this.#reachedEnd(result);
    this.#links();
    if (this.following) this.#scrollDown();
    this.afterwards();
  }

  clear() {
    this.round += 1;
    this.queue = [];
    this.list.replaceChildren();
    this.first = null;
    this.last = 0;
    this.newest = 0;
    this.loaded = this.atEnd = true;
    this.#links();
  }

  #flush() {
    const items = this.queue.slice(-this.limit);
    const skipped = this.queue.length > items.length;
    this.queue = [];
    if (!this.following && this.list.childElementCount + items.length > this.limit) {
      this.#leaveEnd(); // who reads further up keeps what is being read; the rest can be loaded
      return;
    }
    if (skipped) {
      this.list.replaceChildren();
      this.first = items.find((item) => item.seq)?.seq ?? this.first;
    }
    for (const item of items) {
      if (item.seq && item.seq <= this.last) continue;
      const built = this.build(item);
      if (built) this.#place(built); // else it went into one that is there
      this.last = item.seq ?? this.last;
    }
    this.#trimTop();
    this.#links();
    if (this.following) this.#scrollDown();
    this.afterwards();
  }

  #trimTop() {
    let dropped = 0;
    while (this.list.childElementCount > this.limit) {
      dropped = Math.max(dropped, Number(this.list.firstElementChild.dataset.seq) || 0);
      this.list.firstElementChild.remove();
    }
    if (dropped) this.first = Math.max(this.first ?? 0, dropped + 1);
  }

  /** Put an item at its time near the end; a divider between attempts is passed by none. */
  #place(item) {
    if (this.filter.get("order") === "commit") delete item.dataset.at;
    const newest = at(this.list.lastElementChild);
    if (at(item) < newest - WINDOW) item.dataset.at = newest - WINDOW;
    let next = null;
    let before = this.list.lastElementChild;
    while (before && at(before) > at(item)) {
      next = before;
      before = before.previousElementSibling;
    }
    this.list.insertBefore(item, next);
  }

  /** Put items in front, merged with those they overlap in time. */
  #placeBefore(items) {
    let next = this.list.firstElementChild;
    let left = items.filter((item) => !item.dataset.seq).length; // dividers ahead
    for (const item of items) {
      if (!item.dataset.seq) left -= 1;
      while (!left && next && at(next) < at(item)) next = next.nextElementSibling;
      this.list.insertBefore(item, next);
    }
  }

  #unseen(items) {
    const present = new Set([...this.list.children].map((item) => item.dataset.seq));
    return items.filter((item) => !item.dataset.seq || !present.has(item.dataset.seq));
  }

  #reachedEnd(result) {
    if (result.last) return this.#leaveEnd();
    this.last = Math.max(this.last, result.newest);
    // Events that came while this was asked for are behind it still.
    this.atEnd = this.newest === result.newest;
    this.catchingUp = !this.atEnd;
    if (this.catchingUp) this.#again();
  }

  #again() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => (this.busy ? this.#again() : this.later()), LATER_PAUSE);
  }

  #leaveEnd() {
    this.queue = [];
    this.atEnd = this.catchingUp = false;
    this.#setFollowing(false);
    this.#links();
  }

  #lastShown() {
    let last = 0;
    for (const item of this.list.children) last = Math.max(last, Number(item.dataset.seq) || 0);
    return last;
  }

  #way(name) {
    return this.list.parentElement.querySelector(`.${name}`);
  }

  #links() {
    this.#way("earlier").hidden = !this.first;
    // What is about to be loaded by itself needs no link, which would come and go.
    this.#way("later").hidden = !this.loaded || this.atEnd || this.catchingUp;
  }

  async #fetch(query, anew = false) {
    if (anew) this.round += 1;
    const { round, newest } = this;
    this.busy = true;
    const parameters = new URLSearchParams(this.filter);
    for (const [name, value] of Object.entries(query)) parameters.set(name, value);
    try {
      const answer = await ask(`${this.address}?${parameters}`);
      if (!answer.ok) return null;
      const holder = document.createElement("template");
      holder.innerHTML = await answer.text(); // escaped and sanitised by the server
      if (round !== this.round) return null;
      const { first, last, match, total, number } = holder.content.querySelector("ol").dataset;
      const items = [...holder.content.querySelector("ol").children];
      items.forEach((item) => this.localise(item));
      return { items, first: Number(first) || null, last: Number(last) || null, match, total, number, newest };
    } catch {
      return null; // `ask` has told of it; the next scrolling or event tries again
    } finally {
      if (round === this.round) this.busy = false;
    }
  }

  /** Change the list and keep what is being read where it is. */
  #keepingPlace(change) {
    const scroller = this.screen ?? document.scrollingElement;
    const top = this.screen ? this.screen.getBoundingClientRect().top : 0;
    const anchor = [...this.list.children].find((item) => item.getBoundingClientRect().bottom > top);
    const before = anchor?.getBoundingClientRect().top;
    change();
    if (anchor?.isConnected && this.visible()) {
      scroller.scrollTop += anchor.getBoundingClientRect().top - before;
    }
    this.top = this.screen?.scrollTop;
  }

  #setFollowing(value) {
    this.following = value;
    this.follow?.setAttribute("aria-pressed", String(value));
  }

  #scrollDown() {
    if (!this.screen || !this.visible()) return;
    this.screen.scrollTop = this.screen.scrollHeight;
    this.top = this.screen.scrollTop;
  }

  #scrolling() {
    this.top = this.screen.scrollTop;
    this.screen.addEventListener("scroll", () => {
      const { scrollTop, scrollHeight, clientHeight } = this.screen;
      const rest = scrollHeight - scrollTop - clientHeight;
      const up = scrollTop < this.top;
      const down = scrollTop > this.top;
      this.top = scrollTop;
      if (this.following && up && rest > 40) this.#setFollowing(false);
      else if (!this.following && down && rest < 4 && this.atEnd) this.#setFollowing(true);
      if (up && scrollTop < EDGE) this.earlier();
      else if (down && rest < EDGE && this.loaded && !this.atEnd) this.later();
    }, { passive: true });
  }
}
