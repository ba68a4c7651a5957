"""Which run of which notebook cell made a widget: when a cell runs again, what it made before is closed.

ipywidgets keeps every widget until it is closed, shown or not, so a cell that runs ten times would keep ten.
"""

from __future__ import annotations

import sys
import weakref
from typing import Protocol


class Closes(Protocol):
    """All that is asked of a widget here."""

    def close(self) -> None: ...


_made: dict[str, tuple[str, weakref.WeakSet]] = {}  # cell → the run that made widgets last, and those


def made(widget: Closes) -> None:
    """A cell has made this widget: close what earlier runs of the same cell have made.

    Widgets of one run stay side by side, and so do those of different cells. Code that no cell runs, such as a script or
    a button's callback, replaces nothing.
    """
    running = _running()
    if running is None:
        return
    cell, run = running
    last, widgets = _made.get(cell, ("", weakref.WeakSet()))
    if last != run:
        for old in list(widgets):
            old.close()
        widgets = weakref.WeakSet()
    widgets.add(widget)
    _made[cell] = run, widgets


def _running() -> tuple[str, str] | None:
    """The cell that runs now, and a name for this run of it; None outside of a notebook's cell."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    asked: dict = getattr(shell, "get_parent", dict)()
    header = asked.get("header", {})
    if header.get("msg_type") != "execute_request":
        return None
    # Front ends that do not name the cell send its text: then the same text is the same cell.
    cell = asked.get("metadata", {}).get("cellId") or asked.get("content", {}).get("code", "")
    return str(cell), str(header.get("msg_id"))
