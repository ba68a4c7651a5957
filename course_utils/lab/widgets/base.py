"""What all widgets share: controls, a result that is computed in a worker thread, and a line that says how it goes."""

from __future__ import annotations

from html import escape
from typing import Any

import ipywidgets as w

from course_utils.lab.widgets.latest import Latest

WRONG, QUIET = "var(--jp-error-color1, #b00020)", "var(--jp-ui-font-color2, #555)"


class LiveWidget(w.VBox):
    """A box of controls and the newest result for them.

    A subclass puts its controls, `self.status` and whatever shows the result into `self.children`, names the
    controls that a result depends on with `follow`, and gives

    - `request`: what the controls say now, an immutable dataclass of all that the result depends on;
    - `show(result)`: how a result is shown; it runs in the worker's thread;
    - `fallback`: what a notebook says where no widget can be shown.

    `core.compute(request, should_stop)` makes the result, or None when it stopped because `should_stop()` was true.
    `shown` is the last result. What `compute` or `show` raises is said in the status line, and the next request works.
    """

    fallback: str
    _worker: Latest

    def __init__(self, core: Any):
        super().__init__()
        self.core = core
        self.shown: Any = None
        self.status = w.HTML()
        self._worker = Latest(self._work)

    @property
    def request(self) -> Any:
        """What the controls say now."""
        raise NotImplementedError

    def show(self, result: Any) -> None:
        """Show a result."""
        raise NotImplementedError

    def busy(self, request: Any) -> str:
        """What the status line says while a request is computed; nothing for one that is quick."""
        return f"computing {request.label} …"

    def outdated(self, request: Any) -> bool:
        """Whether the request in work is no longer wanted."""
        return self._worker.closed or self._worker.waiting not in (None, request)

    def follow(self, *controls: w.Widget) -> None:
        """Compute anew whenever one of these controls changes."""
        for control in controls:
            control.observe(self.asked, "value")

    def asked(self, change: dict) -> None:
        """The reader changed a control."""
        self.refresh()

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker, and release this widget and those in it. Later requests are ignored."""
        if hasattr(self, "_worker"):  # a widget whose constructor raises is closed, too
            self._worker.close()
        _close_all(self.children)
        super().close()

    def say(self, text: str = "", bold: str = "", wrong: bool = False) -> None:
        """Put a text into the status line, after another one in bold letters."""
        parts = ([f"<b>{escape(bold)}</b>"] if bold else []) + ([escape(text)] if text else [])
        # The line keeps its height, so that what is below stays where it is.
        style = f"min-height:20px;line-height:20px;color:{WRONG if wrong else 'inherit' if bold else QUIET}"
        self.status.value = f'<div style="{style}">{" · ".join(parts)}</div>'

    def work(self, request: Any) -> None:
        """Compute a request and show the result, in the worker's thread."""
        if text := self.busy(request):
            self.say(text)
        result = self.core.compute(request, should_stop=lambda: self.outdated(request))
        if result is not None:
            self.show(result)
            self.shown = result

    def _work(self, request: Any) -> None:
        try:
            self.work(request)
        except ValueError as error:  # its message is written for the reader
            self.say(str(error), wrong=True)
        except Exception as error:  # a thread has nobody else to tell
            self.say(f"{type(error).__name__}: {error}", wrong=True)

    def _repr_mimebundle_(self, **how: object) -> dict:
        """Show the widget, and only now start to compute."""
        self.refresh()
        return {**super()._repr_mimebundle_(**how), "text/plain": self.fallback}


def look(width: int, described: int = 76) -> dict:
    """A control's width and that of its description, in pixels: `Text(..., **look(400))`."""
    return {"layout": w.Layout(width=f"{width}px"), "style": {"description_width": f"{described}px"}}


def hidden_image(kind: str = "jpeg", max_width: str = "100%", **layout: str) -> w.Image:
    """An image that keeps its size, and shrinks only where there is no room.

    It is hidden until `reveal` gives it something to show, as browsers draw an empty image as a broken one.
    """
    fit = {"max_width": max_width, "object_fit": "contain", "align_self": "flex-start", "display": "none"}
    return w.Image(format=kind, layout=w.Layout(**fit | layout))


def reveal(image: w.Image, encoded: bytes) -> None:
    """Show encoded bytes in an image that may have been hidden."""
    image.value, image.layout.display = encoded, "block"


def _close_all(widgets: tuple[w.Widget, ...]) -> None:
    for widget in widgets:
        _close_all(getattr(widget, "children", ()))
        widget.close()
