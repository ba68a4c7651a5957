"""Progress that a saved notebook keeps: a picture updated in place, and a line of text at the end.

In a notebook there is one display, an image that holds bar, numbers, loss curve and live pictures, and it is
replaced in place. The text beside the image never changes, so that the saved output is the last image and one
line of text, which tools that compare a notebook's text can compare. No widget, no comm, nothing on stderr.
In a terminal it is a bar on one line, and in a log file a line for each tenth of the way.

Hours of training may depend on it, so nothing that goes wrong while showing ends a run: not a preview that raises,
nor a terminal that is gone.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from IPython.display import DisplayHandle
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.lab import plots

WIDTH, BAR, CURVE = 760, 8, (212, 128)
OVERHEAD = 0.04  # share of the time that drawing may take


Preview = Tensor | Callable[[], Tensor]


class Progress:
    """`progress(step, total, logs, preview)`, as `training.loop.fit` calls it; also a context manager.

    `preview` is a function that returns pictures (N, 3, H, W), or such pictures; the first eight are shown.
    It is called now and then, for at most `OVERHEAD` of the time, and once at the end. The run ends when
    `step` reaches `total`, or at `close()`: then one line says how it went, also that it was stopped. A step that is
    lower than the last one begins a new run.
    """

    def __init__(self, name: str = "training", every: float = 0.4):
        self.name, self.every = name, every
        self.show = _Notebook(name) if _in_notebook() else _Terminal()
        self._reset()

    def _reset(self) -> None:
        self.started = time.monotonic()
        self.first: tuple[int, float] | None = None
        self.losses: list[tuple[int, float]] = []
        self.last: tuple[int, int, dict[str, float], Preview | None] | None = None
        self.pictures: Image.Image | None = None
        self.trouble = ""
        self.next_draw = self.next_preview = 0.0
        self.open = True

    def __call__(self, step: int, total: int, logs: dict[str, float], preview: Preview | None = None) -> None:
        if self.last and not self.open and step > self.last[0] >= self.last[1] == total:
            return  # more of a run that has reached its end
        if self.last and self.open and step < self.last[0]:
            self.close()
        if not self.open:
            self._reset()
        now = time.monotonic()
        logs = {name: _number(value) for name, value in logs.items()}
        self.last = step, total, logs, preview
        if logs:
            self.losses.append((step, logs.get("loss", next(iter(logs.values())))))
        if self.first is None:
            self.first = step, now
        if step >= total:
            self.close()
        elif now >= self.next_draw:
            self._draw(now)

    def _draw(self, now: float, final: bool = False) -> None:
        if self.last is None or self.first is None:
            return
        step, total, logs, preview = self.last
        # A run that was stopped is shown as it was: its user waits, and its model may be broken.
        due = step >= total if final else now >= self.next_preview
        if preview is not None and self.show.pictorial and due:
            try:
                self.pictures, self.trouble = _tiled(preview() if callable(preview) else preview), ""
            except Exception as error:
                says = " ".join(f"{type(error).__name__}: {error}".split())
                self.trouble = f"no new pictures ({says[:200]})"
            started, now = now, time.monotonic()
            self.next_preview = now + max(2.0, (now - started) / OVERHEAD)
        first_step, first_time = self.first
        left = (total - step) * (now - first_time) / (step - first_step) if step > first_step else None
        # A slow preview makes the next one wait, but not the bar.
        self.show.draw(step, total, logs, self.losses, self.pictures, None if final else left)
        self.next_draw = now + max(self.every, (time.monotonic() - now) / OVERHEAD)

    def close(self) -> None:
        """Draw the last state and say in one line how it went. A second call does nothing."""
        if not self.open or self.last is None:
            return
        self.open = False
        try:
            self._draw(time.monotonic(), final=True)
        finally:  # an impatient user's second interrupt
            line = summary(self.name, self.last[0], self.last[1], self.losses)
            self.show.end(f"{line} · {self.trouble}" if self.trouble else line)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def summary(name: str, step: int, total: int, losses: list[tuple[int, float]]) -> str:
    """The line that stays: 'denoiser: 700 steps · loss 1.23 → 0.41'."""
    steps = f"{step} step{'s' * (step != 1)}" if step >= total else f"stopped at step {step} of {total}"
    if not losses:
        return f"{name}: {steps}"
    return f"{name}: {steps} · loss {losses[0][1]:.3g} → {losses[-1][1]:.3g}"


def numbers(logs: dict[str, float]) -> str:
    """The first four numbers of a step: 'loss 0.412 · kl 3.1'."""
    return " · ".join(f"{name} {value:.3g}" for name, value in list(logs.items())[:4])


def left_over(seconds: float | None) -> str:
    """How long it will take, in words: 'about 40 s left'."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 90:
        return f"about {max(1, round(seconds)):.0f} s left"
    return f"about {seconds / 60:.0f} min left"


def draw(
    name: str,
    step: int,
    total: int,
    logs: dict[str, float],
    losses: list[tuple[int, float]],
    pictures: Image.Image | None,
    left: float | None,
) -> Image.Image:
    """Bar, numbers, loss curve and live pictures as one image, `WIDTH` pixels wide."""
    height = 46 + max(CURVE[1], pictures.height if pictures else 0)
    canvas = Image.new("RGB", (WIDTH, height), plots.PAPER)
    pen = ImageDraw.Draw(canvas)
    pen.text((0, 2), name, fill=plots.INK, font=plots.font(13, bold=True))
    at = plots.font(13, bold=True).getlength(name) + 12
    text = " · ".join(t for t in (f"step {step} of {total}", numbers(logs)) if t)
    pen.text((at, 2), text, fill=plots.INK, font=plots.font())
    pen.text((WIDTH, 2), left_over(left), fill=plots.FAINT, font=plots.font(), anchor="ra")
    pen.rounded_rectangle((0, 24, WIDTH - 1, 24 + BAR), BAR // 2, fill="#E3E6EA")
    done = round((WIDTH - 1) * min(1.0, step / max(1, total)))
    if done >= BAR:
        pen.rounded_rectangle((0, 24, done, 24 + BAR), BAR // 2, fill=plots.COLOURS[0])
    if pictures:
        canvas.paste(pictures, (WIDTH - pictures.width, 46))
    width = max(CURVE[0], WIDTH - pictures.width - 24) if pictures else WIDTH
    _curve(pen, losses, (0, 46), (width, CURVE[1]))
    return canvas


def _curve(
    pen: ImageDraw.ImageDraw, losses: list[tuple[int, float]], at: tuple[int, int], size: tuple[int, int]
) -> None:
    """The loss over steps, its first and last value written beside it."""
    (x0, y0), (w, h) = at, size
    pen.line((x0, y0 + h - 2, x0 + w - 1, y0 + h - 2), fill="#C8CCD2")
    losses = [(s, v) for s, v in losses if math.isfinite(v)]
    if len(losses) < 2:
        return
    low, high = min(v for _, v in losses), max(v for _, v in losses)
    # A loss that falls by more than a factor of ten shows its end only on a logarithmic axis. On a linear one halves
    # do as well as the whole, and the difference of two of them is never beyond a float.
    scale = math.log if low > 0 and high / 10 > low else _half
    bottom, span = scale(low), (scale(high) - scale(low)) or 1.0
    first, last = losses[0][0], losses[-1][0]
    along, down = (w - 8) / max(1, last - first), (h - 38) / span
    points = [(x0 + along * (s - first), y0 + h - 20 - down * (scale(v) - bottom)) for s, v in losses]
    pen.line(points, fill=plots.COLOURS[0], width=2, joint="curve")
    x, y = points[-1]
    pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=plots.COLOURS[1])
    label = "loss, logarithmic" if scale is math.log else "loss"
    pen.text((x0, y0 + h - 16), f"{low:.3g}", fill=plots.FAINT, font=plots.font(11))
    pen.text((x0 + w, y0), f"{label}, highest {high:.3g}", fill=plots.FAINT, font=plots.font(11), anchor="ra")


def _half(value: float) -> float:
    return value / 2


def _number(value: Any) -> float:
    """A logged value as a float, NaN where it is none."""
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return math.nan


def _tiled(pictures: Tensor) -> Image.Image:
    """The first eight pictures as one, as large as fits beside the curve."""
    columns = min(4, len(pictures))
    scale = 2 if columns * (2 * pictures.shape[-1] + 4) <= WIDTH - CURVE[0] else 1
    return plots.tile(pictures[:8], columns=columns, scale=scale, gap=4)


def _say(text: str) -> None:
    """Write to stdout what it can take: it may know few letters, be closed, or have nobody at its other end."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with contextlib.suppress(OSError, ValueError):
        print(text.encode(encoding, "replace").decode(encoding), end="", flush=True)


class _Notebook:
    pictorial = True

    def __init__(self, name: str):
        self.name = name
        self.handle: DisplayHandle | None = None

    def draw(self, step, total, logs, losses, pictures, left) -> None:
        png = plots.to_png(draw(self.name, step, total, logs, losses, pictures, left))
        # The text is the same from the first display to the last: tools compare it, and not the image.
        bundle = {"image/png": png, "text/plain": f"<progress of {self.name}>"}
        if self.handle is None:
            self.handle = DisplayHandle()
            self.handle.display(bundle, raw=True)
        else:
            self.handle.update(bundle, raw=True)

    def end(self, line: str) -> None:
        self.handle = None
        _say(f"{line}\n")


class _Terminal:
    pictorial = False

    def __init__(self) -> None:
        self.tenth, self.live = -1, False
        with contextlib.suppress(ValueError, AttributeError):  # stdout may be closed, or there is none
            self.live = sys.stdout.isatty()

    def draw(self, step, total, logs, losses, pictures, left) -> None:
        share = min(1.0, step / max(1, total))
        text = " · ".join(t for t in (f"step {step} of {total}", numbers(logs), left_over(left)) if t)
        if self.live:
            bar = "█" * round(24 * share) + "░" * (24 - round(24 * share))
            _say(f"\r\033[K{bar} {text}")
        elif int(10 * share) > self.tenth and share < 1:
            self.tenth = int(10 * share)
            _say(f"{text}\n")

    def end(self, line: str) -> None:
        _say(f"\r\033[K{line}\n" if self.live else f"{line}\n")
        self.tenth = -1


def _in_notebook() -> bool:
    """Whether a notebook's kernel runs us, rather than a terminal (IPython's too)."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and getattr(shell, "kernel", None) is not None
