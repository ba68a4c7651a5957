"""Two ways from one picture to another, side by side: through pixels, and through an autoencoder's latents.

`InterpolationCore` works without widgets: which two pictures and how far, in; both pictures, encoded, out.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor, nn

from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest

STEPS = 7


@dataclass(frozen=True)
class Request:
    """All that the pictures depend on: from picture `a` to picture `b`, at the share `t` of the way."""

    a: int
    b: int
    t: float

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        return f"{1 - self.t:.0%} of picture {self.a}, {self.t:.0%} of picture {self.b}"


@dataclass(frozen=True)
class Result:
    """The point on both ways, (3, 64, 64) in [-1, 1] each, and JPEG bytes of both side by side."""

    request: Request
    pixels: Tensor
    latents: Tensor
    encoded: bytes


class InterpolationCore:
    """Points between two of `pictures` (N, 3, 64, 64) in [-1, 1], in pixels and in the latents of `autoencoder`.

    autoencoder: with `encode(x).mode()` and `decode(z)`, such as `models.autoencoder.VAE`.
    """

    def __init__(self, autoencoder: nn.Module, pictures: Tensor):
        if len(check_pictures(pictures, "pictures")) < 2:
            raise ValueError(f"pictures: expected two or more, got {len(pictures)}")
        self.autoencoder, self.pictures = autoencoder, pictures.cpu()
        device = next(autoencoder.parameters()).device
        with torch.inference_mode():
            self.latents = autoencoder.encode(pictures.to(device)).mode()

    @torch.inference_mode()
    def between(self, a: int, b: int, ts: Tensor) -> tuple[Tensor, Tensor]:
        """The points at the shares ts (n,) of both ways: pictures (n, 3, 64, 64), and decoded latents alike."""
        for name, i in (("a", a), ("b", b)):
            if not isinstance(i, int) or not 0 <= i < len(self.pictures):
                raise ValueError(f"{name}: got {i!r}; expected a picture's number, 0 to {len(self.pictures) - 1}")
        if not bool(((ts >= 0) & (ts <= 1)).all()):
            raise ValueError(f"t: got {ts.tolist()}; expected 0 to 1")
        t = ts.view(-1, 1, 1, 1)
        pixels = torch.lerp(self.pictures[a], self.pictures[b], t)
        z = torch.lerp(self.latents[a], self.latents[b], t.to(self.latents))
        return pixels, self.autoencoder.decode(z).clamp(-1, 1).cpu()

    def compute(self, a: int = 0, b: int = 1, t: float = 0.5) -> Result:
        """One point on both ways."""
        pixels, latents = (x[0] for x in self.between(a, b, torch.tensor([float(t)])))
        encoded = plots.to_jpeg(torch.stack([pixels, latents]), columns=2, scale=3.5)
        return Result(Request(a, b, float(t)), pixels, latents, encoded)

    def overview(self, a: int = 0, b: int = 1):
        """Both ways in seven steps, a row each, as a tiled picture."""
        ts = torch.linspace(0, 1, STEPS)
        pixels, latents = self.between(a, b, ts)
        columns = [f"t = {t:.2f}" for t in ts.tolist()]
        return plots.labelled_rows({"in pixels": pixels, "in latents": latents}, scale=1.5, column_labels=columns)


class Interpolation:
    """The widget: two numbers choose pictures, a slider walks from one to the other.

    `Interpolation(autoencoder, pictures)`; in a notebook, the last line shows it. The arrow keys move the slider, too.
    """

    def __init__(self, autoencoder: nn.Module, pictures: Tensor, a: int = 0, b: int = 1):
        import ipywidgets as w

        self.core = InterpolationCore(autoencoder, pictures)
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        last, narrow = len(pictures) - 1, w.Layout(width="150px")
        self.a = w.BoundedIntText(a, min=0, max=last, description="from", layout=narrow)
        self.b = w.BoundedIntText(b, min=0, max=last, description="to", layout=narrow)
        self.t = w.FloatSlider(
            0.5,
            min=0,
            max=1,
            step=0.01,
            description="t",
            readout_format=".2f",
            layout=w.Layout(width="440px"),
        )
        self.label, self.image = w.HTML(), w.Image(format="jpeg")
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start", display="none")
        names = w.HTML("<b>left: in pixels &nbsp; right: in latents</b>")
        self.box = w.VBox([w.HBox([self.a, self.b, self.t]), self.label, self.image, names])
        self.box.add_class("interpolation")
        self.label.add_class("interpolation-label")
        self.image.add_class("interpolation-pictures")
        for control in (self.a, self.b, self.t):
            control.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "Interpolation: run this cell in a notebook to walk between two pictures",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(self.a.value, self.b.value, self.t.value)

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self):
        """The same thing as a picture that a notebook keeps: an `IPython.display.Image` of both ways."""
        from IPython.display import Image

        return Image(plots.to_jpeg(self.core.overview(self.a.value, self.b.value)))

    def _asked(self, change: dict) -> None:
        self.label.value = f"<i>computing {escape(self.request.label)} …</i>"
        self.refresh()

    def _work(self, request: Request) -> None:
        try:
            result = self.core.compute(request.a, request.b, request.t)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            self.label.value = f'<span style="color:#b00020">{escape(f"{type(error).__name__}: {error}")}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.shown = result
        self.label.value = f"<b>{escape(request.label)}</b>"
