"""What all widgets share: controls, a result that is computed in a worker thread, and a line that says how it goes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

import ipywidgets as w

from course_utils.lab.widgets import cells
from course_utils.lab.widgets.drawing import themed
from course_utils.lab.widgets.latest import Latest

WRONG, QUIET = themed("#D50000"), "var(--jp-ui-font-color2, #555)"


class LiveWidget(w.VBox):
    """A box of controls and the newest result for them.

    A subclass puts its controls, `self.status` and whatever shows the result into `self.children`, names the
    controls that a result depends on with `follow`, and gives

    - `request`: what the controls say now, an immutable dataclass of all that the result depends on;
    - `show(result)`: how a result is shown; it runs in the worker's thread;
    - `fallback`: what a notebook says where no widget can be shown.

    `core.compute(request, should_stop)` makes the result, or None when it stopped because `should_stop()` was true.
    `shown` is the last result. Whatever goes wrong, in the worker or when a control is read, is said in the status
    line, and the next request works.

    `close` gives back the thread, the controls, the core and the pictures. When a notebook's cell runs again, what it
    made before is closed.
    """

    fallback: str
    _worker: Latest
    _syncing = False

    def __init__(self, core: Any):
        super().__init__()
        cells.made(self)
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
            control.observe(self.listener(self.asked), "value")

    def listener(self, heard: Callable[[Any], None]) -> Callable[[Any], None]:
        """`heard`, for a control to call: what it raises is said, where the kernel would hide it in its log.

        Nothing is heard while the widget itself sets its controls, see `syncing`, or when it is closed.
        """

        def listens(change: Any) -> None:
            if self._syncing or self._worker.closed:
                return
            try:
                heard(change)
            except Exception as error:
                self.complain(error)

        return listens

    @contextmanager
    def syncing(self) -> Iterator[None]:
        """Set controls without being heard: `with self.syncing(): ...`."""
        before, self._syncing = self._syncing, True
        try:
            yield
        finally:
            self._syncing = before

    def asked(self, change: dict) -> None:
        """The reader changed a control."""
        self.refresh()

    def refresh(self) -> None:
        """Compute what the controls say."""
        if self._worker.closed:
            return
        try:
            self._worker.submit(self.request)
        except Exception as error:
            self.complain(error)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker, and release this widget, those in it, its core and its pictures. Later requests are ignored."""
        if self.comm is None:  # closed before, or never built
            return
        if hasattr(self, "_worker"):  # a widget whose constructor raises is closed, too
            self._worker.close()
        core: Any = getattr(self, "core", None)
        if hasattr(core, "close"):  # one with threads of its own
            core.close()
        parts = list(_parts(self))
        super().close()
        for part in parts:
            part.close()
            if isinstance(part, w.Image):
                part.value = b""
        # A notebook's Out keeps the widget; what it shows and is made of is not kept.
        self.core, self.shown = _Closed(), None

    def say(self, text: str = "", bold: str = "", wrong: bool = False) -> None:
        """Put a text into the status line, after another one in bold letters."""
        parts = ([f"<b>{html(bold)}</b>"] if bold else []) + ([html(text)] if text else [])
        # The line keeps its height, so that what is below stays where it is.
        style = f"min-height:20px;line-height:20px;color:{WRONG if wrong else 'inherit' if bold else QUIET}"
        self.status.value = f'<div style="{style}">{" · ".join(parts)}</div>'

    def work(self, request: Any) -> None:
        """Compute a request and show the result, in the worker's thread."""
        if text := self.busy(request):
            self.say(text)
        result = self.core.compute(request, should_stop=lambda: self.outdated(request))
        if result is not None:
            self.shown = None  # until all of it is there
            self.show(result)
            self.shown = result

    def complain(self, error: BaseException) -> None:
        """Say what went wrong in the status line."""
        for_readers = isinstance(error, ValueError) and not isinstance(error, UnicodeError)
        self.say(str(error) if for_readers else f"{type(error).__name__}: {error}", wrong=True)

    def _work(self, request: Any) -> None:
        try:
            self.work(request)
        except BaseException as error:  # even an exit: a thread has nobody else to tell
            self.complain(error)

    def _repr_mimebundle_(self, **how: object) -> dict:
        """Show the widget, and only now start to compute."""
        self.refresh()
        return {**super()._repr_mimebundle_(**how), "text/plain": self.fallback}


_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def html(text: str) -> str:
    """A text as HTML shows it, letter for letter: nothing in it is a tag.

    Control characters and half surrogates, which no browser can show and no message can carry, become U+FFFD, and so do
    marks that would turn the direction of what stands behind them.
    """
    bad = (c in _DIRECTIONS or (unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t") for c in text)
    return escape("".join("\ufffd" if wrong else c for c, wrong in zip(text, bad, strict=True)))


def look(width: int, described: int = 76) -> dict:
    """A control's width and that of its description, in pixels: `Text(..., **look(400))`."""
    return {"layout": w.Layout(width=f"{width}px"), "style": {"description_width": f"{described}px"}}


def choice(options: Sequence, value: Any, description: str, described: int = 70, button: int = 80) -> w.ToggleButtons:
    """Buttons of which one is pressed, and their description beside them; widths in pixels."""
    style = {"description_width": f"{described}px", "button_width": f"{button}px"}
    # Every other control has this class, which puts the description into the control's own line.
    return w.ToggleButtons(options=options, value=value, description=description, style=style).add_class(
        "widget-inline-hbox"
    )


def hidden_image(kind: str = "jpeg", max_width: str = "100%", **layout: str) -> w.Image:
    """An image that keeps its size, and shrinks only where there is no room.

    It is hidden until `reveal` gives it something to show, as browsers draw an empty image as a broken one.
    """
    fit = {"max_width": max_width, "object_fit": "contain", "align_self": "flex-start", "display": "none"}
    return w.Image(format=kind, layout=w.Layout(**fit | layout))


def reveal(image: w.Image, encoded: bytes) -> None:
    """Show encoded bytes in an image that may have been hidden."""
    image.value, image.layout.display = encoded, "block"


class _Closed:
    """What stands in the place of a closed widget's core."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(
            "this widget is closed, as happens when its cell runs again; run the cell and use what it makes"
        )


def _parts(widget: w.Widget) -> Iterator[w.Widget]:
    """All widgets that one is made of: those in it, and their layouts and styles.

    Attributes count, too: a constructor that raised has made controls that are in no box yet.
    """
    found, todo = {id(widget)}, [widget]
    while todo:
        one = todo.pop()
        inside = [*one.trait_values(sync=True).values(), *(vars(one).values() if one is widget else ())]
        while inside:
            value = inside.pop()
            if isinstance(value, list | tuple):
                inside.extend(value)
            elif isinstance(value, dict):
                inside.extend(value.values())
            elif isinstance(value, w.Widget) and id(value) not in found:
                found.add(id(value))
                todo.append(value)
                yield value
