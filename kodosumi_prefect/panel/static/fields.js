// What was wrong with a field is no longer said of it once somebody has changed it.

document.addEventListener("input", ({ target }) => {
  if (!target.matches?.("[aria-invalid]")) return;
  target.removeAttribute("aria-invalid");
  const ids = (target.getAttribute("aria-describedby") ?? "").split(" ");
  for (const id of ids) document.getElementById(id)?.matches(".wrong") && document.getElementById(id).remove();
  const left = ids.filter((id) => document.getElementById(id));
  if (left.length) target.setAttribute("aria-describedby", left.join(" "));
  else target.removeAttribute("aria-describedby");
});
