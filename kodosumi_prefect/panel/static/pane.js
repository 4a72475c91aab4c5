// A list that grows at its end, many items at once, and forgets its oldest.

/**
 * Items come from `add` and reach the page once a frame. At most `limit` stay; what was dropped
 * can be had again by the link `earlier`, which loads what came before the first one shown.
 */
export class Pane {
  constructor(list, earlier, limit, build) {
    this.list = list;
    this.earlier = earlier;
    this.limit = limit;
    this.build = build;
    this.queue = [];
    this.scheduled = false;
    this.after = () => {};
    if (!list.firstElementChild) list.replaceChildren(); // so that :empty holds
    earlier.querySelector("a").addEventListener("click", (click) => {
      click.preventDefault();
      this.loadEarlier(click.currentTarget);
    });
  }

  add(item) {
    this.queue.push(item);
    if (this.queue.length > 2 * this.limit) this.queue.splice(0, this.queue.length - this.limit);
    if (this.scheduled) return;
    this.scheduled = true;
    // A hidden tab draws no frames; a timer comes there, too.
    const flush = () => this.scheduled && this.flush();
    requestAnimationFrame(flush);
    setTimeout(flush, 250);
  }

  flush() {
    this.scheduled = false;
    const items = this.queue.slice(-this.limit);
    const skipped = this.queue.length > items.length;
    this.queue = [];
    if (skipped) this.list.replaceChildren();
    const fragment = document.createDocumentFragment();
    for (const item of items) fragment.append(this.build(item));
    this.list.append(fragment);
    this.trim(skipped);
    this.after();
  }

  trim(dropped) {
    while (this.list.childElementCount > this.limit) {
      this.list.firstElementChild.remove();
      dropped = true;
    }
    if (dropped) this.point();
  }

  /** Let the link lead before the first item shown. */
  point() {
    const first = this.list.querySelector("[data-seq]")?.dataset.seq;
    this.earlier.hidden = !first || Number(first) <= 1;
    if (first) {
      const link = this.earlier.querySelector("a");
      link.search = `?before=${first}`;
    }
  }

  clear() {
    this.queue = [];
    this.list.replaceChildren();
    this.earlier.hidden = true;
  }

  async loadEarlier(link) {
    const answer = await fetch(`${link.href}&fragment=true`);
    if (!answer.ok) return;
    const holder = document.createElement("template");
    holder.innerHTML = await answer.text();
    const loaded = holder.content.querySelector("ol");
    const items = [...loaded.children];
    this.limit = Math.max(this.limit, this.list.childElementCount + items.length + 1000);
    const anchor = this.list.firstElementChild;
    const top = anchor?.getBoundingClientRect().top;
    this.list.prepend(...items);
    this.earlier.hidden = !loaded.dataset.first;
    link.search = `?before=${loaded.dataset.first}`;
    this.loaded?.(items);
    // Keep what was being read where it was.
    const scroller = this.list.closest(".screen") ?? document.scrollingElement;
    if (anchor) scroller.scrollTop += anchor.getBoundingClientRect().top - top;
  }
}
