// Links that lead to tabs of a page become tabs, each with an address of its own.

/** Calls `opened(name)` whenever a tab is shown, and once at the start. */
export function tabs(nav, opened) {
  const links = [...nav.querySelectorAll("a[data-tab]")];
  const panelOf = (link) => document.getElementById(link.getAttribute("aria-controls"));
  nav.setAttribute("role", "tablist");
  for (const link of links) {
    link.setAttribute("role", "tab");
    link.setAttribute("aria-controls", `panel-${link.dataset.tab}`);
    panelOf(link).setAttribute("role", "tabpanel");
    panelOf(link).tabIndex = -1;
    link.addEventListener("click", (click) => {
      if (click.ctrlKey || click.metaKey || click.shiftKey || click.button) return;
      click.preventDefault();
      go(link);
    });
  }

  function show(link) {
    for (const other of links) {
      const chosen = other === link;
      other.removeAttribute("aria-current");
      other.setAttribute("aria-selected", String(chosen));
      other.tabIndex = chosen ? 0 : -1;
      panelOf(other).hidden = !chosen;
    }
    bringIntoRow(link);
    opened(link.dataset.tab);
  }

  /** Scroll the row of tabs sideways, and never the page, which may be read further up. */
  function bringIntoRow(link) {
    const [row, tab] = [nav.getBoundingClientRect(), link.getBoundingClientRect()];
    if (tab.left < row.left) nav.scrollLeft += tab.left - row.left;
    else if (tab.right > row.right) nav.scrollLeft += tab.right - row.right;
  }

  function go(link) {
    const address = new URL(link.href);
    if (new URL(location.href).searchParams.get("tab") !== link.dataset.tab) history.pushState(null, "", address);
    show(link);
  }

  function requested() {
    const name = new URL(location.href).searchParams.get("tab");
    return links.find((link) => link.dataset.tab === name) ?? links[0];
  }

  nav.addEventListener("keydown", (key) => {
    const at = links.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: links.length - 1 }[key.key];
    if (at < 0 || to === undefined) return;
    key.preventDefault();
    const link = links[(to + links.length) % links.length];
    link.focus();
    go(link);
  });
  window.addEventListener("popstate", () => show(requested()));
  show(requested());
}
