"""Small pictures beside words: of statuses, kinds of events, areas of the panel and actions.

Each stands beside a word that says the same, so that screen readers pass over it; and each has a
shape of its own, so that statuses differ by more than their colour.
"""

from markupsafe import Markup

# What is drawn in a square of 16 by 16, in lines of the text's colour.
_RING = '<circle cx="8" cy="8" r="6"/>'
_DOT = '<circle cx="8" cy="{}" r=".6" fill="currentColor"/>'
_SHAPES = {
    # Statuses
    "starting": '<circle cx="8" cy="8" r="6" stroke-dasharray="2.4 2.3"/>',
    "running": _RING + '<path d="M6.7 5.4 10.6 8l-3.9 2.6z" fill="currentColor"/>',
    "awaiting": _RING
    + '<path d="M6.3 6.4a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.9.6-.9 1.2"/>'
    + _DOT.format(11.2),
    "finished": _RING + '<path d="m5.4 8.2 1.8 1.8 3.4-3.8"/>',
    "error": '<path d="M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5z"/><path d="M8 5v3.4"/>'
    + _DOT.format(10.8),
    "cancelled": _RING + '<path d="m3.8 12.2 8.4-8.4"/>',
    "paused": _RING + '<path d="M6.5 6v4M9.5 6v4"/>',
    "unknown": _RING,
    # Kinds of events
    "agent": '<rect x="3" y="5.5" width="10" height="7.5" rx="2"/>'
    '<path d="M8 5.5V3M6 8.7v1M10 8.7v1"'
    "/>",
    "action": '<path d="M9 1.8 3.6 9H8l-1 5.2L12.4 7H8z"/>',
    "result": '<path d="M4 2h5.5L12.5 5v9H4z"/><path d="m6 9.2 1.5 1.5 2.6-3"/>',
    "final": '<path d="M4 14V2.5M4 3c3-1.4 5 1.4 8.5 0v6C9 10.4 7 7.6 4 9"/>',
    "lock": '<path d="M2.5 3h11v8H7.2L4.5 13.5V11h-2z"/>'
    '<path d="M6.7 5.9a1.4 1.4 0 1 1 1.9 1.3c-.4.2-.6.4-.6.8"/>' + _DOT.format(9.6),
    "lease": '<path d="M2.5 3h11v8H7.2L4.5 13.5V11h-2z"/><path d="m5.7 7.2 1.6 1.6 3-3.2"/>',
    # Types of spans, where kinds of events have none
    "llm": '<path d="M8 1.8 9.5 6l4.2 1.5-4.2 1.5L8 13.2 6.5 9 2.3 7.5 6.5 6z"/>'
    '<path d="M13 11.5v3M11.5 13h3"/>',
    "tool": '<path d="M9.8 6.2a3 3 0 0 1 3.9-3.9l-2 2 .4 1.6 1.6.4 2-2a3 3 0 0 1-3.9 3.9L6 14'
    'a1.6 1.6 0 0 1-2.3-2.3z" transform="translate(-1.2)"/>',
    "retrieval": '<ellipse cx="7" cy="4" rx="4.5" ry="2"/>'
    '<path d="M2.5 4v6c0 1.1 2 2 4.5 2M11.5 4v3"/>'
    '<circle cx="11" cy="11" r="2"/><path d="m12.5 12.5 1.7 1.7"/>',
    "embedding": '<circle cx="3.5" cy="12" r="1.5"/><circle cx="7" cy="6" r="1.5"/>'
    '<circle cx="12.5" cy="9.5" r="1.5"/><circle cx="12" cy="3" r="1.5"/>',
    "chain": '<path d="M6.7 9.3 9.3 6.7M7 4.5l1.4-1.4a3 3 0 0 1 4.3 4.3L11.3 8.8"/>'
    '<path d="M9 11.5l-1.4 1.4a3 3 0 0 1-4.3-4.3l1.4-1.4"/>',
    "custom": '<rect x="3" y="3" width="10" height="10" rx="2"/>',
    "stdout": '<rect x="2" y="3" width="12" height="10" rx="1.5"/>'
    '<path d="m4.5 6 2 2-2 2M8 10h3"/>',
    "stderr": '<rect x="2" y="3" width="12" height="10" rx="1.5"/><path d="M8 5.5v2.7"/>'
    + _DOT.format(10.3),
    "debug": '<path d="M3 4h10M3 8h7M3 12h4"/>',
    "inputs": '<path d="M2 5h6M11 5h3M2 11h3M8 11h6"/><circle cx="9.5" cy="5" r="1.5"/>'
    '<circle cx="6.5" cy="11" r="1.5"/>',
    "upload": '<path d="M8 10.5V3M5 6l3-3 3 3M3 11v2.5h10V11"/>',
    "progress": '<rect x="1.5" y="6" width="13" height="4" rx="2"/><path d="M4 8h4"/>',
    "status": '<path d="M3 8h2.5l1.5-4 2.5 8L11 8h2"/>',
    "meta": _RING + '<path d="M8 7.3v3.7"/>' + _DOT.format(5),
    # Areas
    "webhooks": '<circle cx="8" cy="4.5" r="2.2"/><circle cx="4" cy="11.5" r="2.2"/>'
    '<circle cx="12" cy="11.5" r="2.2"/><path d="M7 6.5 5.2 9.6M9.2 6.4l1.7 3.1M6.2 11.5h3.6"/>',
    "services": '<rect x="2" y="2" width="5" height="5" rx="1.2"/><rect x="9" y="2" width="5" '
    'height="5" rx="1.2"/><rect x="2" y="9" width="5" height="5" rx="1.2"/>'
    '<rect x="9" y="9" width="5" height="5" rx="1.2"/>',
    "executions": '<path d="m2 3 2.5 1.5L2 6zM2 10l2.5 1.5L2 13zM7.5 4.5H14M7.5 11.5H14"/>',
    "waiting": '<path d="M2.5 3h11v8H7.2L4.5 13.5V11h-2z"/><path d="M5.5 6h5M5.5 8.3h3"/>',
    "schedules": '<rect x="2" y="3" width="12" height="11" rx="1.5"/>'
    '<path d="M2 6.5h12M5 1.5v3M11 1.5v3"/>',
    "system": '<path d="M1.5 8.5H4L6 3l3.5 10 2-4.5h3"/>',
    "account": '<circle cx="8" cy="5.5" r="2.7"/><path d="M2.8 14c.5-3 2.6-4.3 5.2-4.3S12.7 11 13.2'
    ' 14"/>',
    "users": '<circle cx="6" cy="5.5" r="2.4"/>'
    '<path d="M1.5 13.5C2 11 3.7 9.8 6 9.8s4 1.2 4.5 3.7M10.5'
    ' 3.3a2.4 2.4 0 0 1 0 4.4M12 10c1.5.6 2.3 1.8 2.6 3.5"/>',
    "budgets": '<ellipse cx="8" cy="4.3" rx="5.2" ry="2.3"/>'
    '<path d="M2.8 4.3v7.4c0 1.3 2.3 2.3 5.2 2.3s5.2-1 5.2-2.3V4.3M2.8 8c0 1.3 2.3 2.3 5.2'
    ' 2.3s5.2-1 5.2-2.3"/>',
    "audit": '<path d="M8 1.5 13.5 3.5V8c0 3.2-2.2 5.3-5.5 6.5C4.7 13.3 2.5 11.2 2.5 8V3.5z"/>'
    '<path d="m5.7 7.9 1.7 1.7 3-3.2"/>',
    "api": '<path d="M6 3c-2 0-1 4-3 5 2 1 1 5 3 5M10 3c2 0 1 4 3 5-2 1-1 5-3 5"/>',
    "tasks": '<path d="M2 4h7M5 8h7M8 12h6"/>',
    # Actions
    "menu": '<path d="M2 4h12M2 8h12M2 12h12"/>',
    "keys": '<rect x="1.5" y="4" width="13" height="8.5" rx="1.5"/>'
    '<path d="M4 7h.01M7 7h.01M10 7h.01'
    'M12 7h.01M5 10h6"/>',
    "leave": '<path d="M6 2.5H3v11h3M7 8h7M11 5l3 3-3 3"/>',
    "search": '<circle cx="7" cy="7" r="4.5"/><path d="m10.5 10.5 3.5 3.5"/>',
    "star": '<path d="m8 1.8 1.9 4 4.3.6-3.1 3 .8 4.3L8 11.6l-3.9 2.1.8-4.3-3.1-3 4.3-.6z"/>',
    "starred": '<path d="m8 1.8 1.9 4 4.3.6-3.1 3 .8 4.3L8 11.6l-3.9 2.1.8-4.3-3.1-3 4.3-.6z" '
    'fill="currentColor"/>',
    "filter": '<path d="M2 3.5h12M4.5 8h7M6.5 12.5h3"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1.2"/><path d="M10.5 5.5v-3h-8v8h3"/>',
    "again": '<path d="M13 8a5 5 0 1 1-1.5-3.6L13 6M13 2.5V6H9.5"/>',
    "run": '<path d="m5 3 7.5 5L5 13z"/>',
    "clock": _RING + '<path d="M8 4.5V8l2.3 1.5"/>',
    "download": '<path d="M8 2.5V10M5 7l3 3 3-3M3 11v2.5h10V11"/>',
    "link": '<path d="M6.5 3.5H3v9.5h9.5V9.5M9 2.5h4.5V7M13.5 2.5 7.5 8.5"/>',
    "archive": '<path d="M2 3h12v3H2zM3 6v7.5h10V6M6.5 9h3"/>',
    "warning": '<path d="M8 2 14.5 13.5h-13z"/><path d="M8 6.3v3.4"/>' + _DOT.format(11.7),
}
# Words for one thing in Prefect, in Kodosumi and on a page.
_SAME = {
    "completed": "finished",
    "cached": "finished",
    "failed": "error",
    "crashed": "error",
    "timedout": "error",
    "pending": "starting",
    "scheduled": "starting",
    "cancelling": "cancelled",
    "suspended": "paused",
    "log": "stdout",
    "output": "result",
    "task": "tasks",
    "wait": "lock",
    "step": "action",
    "raw": "api",
    "question": "lock",
    "answer": "lease",
}


def icon(name: str | None, more: str = "") -> Markup:
    """The picture for ``name``; nothing if there is none.

    Arguments:
        name: a status, a kind of event, a Prefect state, an area or an action.
        more: further classes.
    """
    key = (name or "").lower()
    shape = _SHAPES.get(_SAME.get(key, key))
    if shape is None:
        return Markup()
    return Markup(
        '<svg class="icon{}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">{}</svg>'
    ).format(f" {more}" if more else "", Markup(shape))
