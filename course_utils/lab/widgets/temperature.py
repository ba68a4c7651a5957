"""The temperature slider: one similarity matrix, and what the softmax makes of it at any temperature.

`TemperatureCore` works without widgets: a scale 1/τ in; the matrix of probabilities, drawn and encoded, the loss and
two more numbers out. `heat` draws any matrix with few pixels, so that a training run can show its own as it goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest

SCALES = (1.0, 2.0, 5.0, 10.0, 14.3, 20.0, 30.0, 50.0, 70.0, 100.0, 200.0, 500.0, 1000.0)
SIDE = 34  # pixels of a cell, and of the thumbnail beside its row


def heat(matrix: Tensor, low: float, high: float) -> Tensor:
    """A matrix (n, m) as a picture (3, n, m) in [-1, 1]: `low` is dark blue, `high` yellow, a pixel an entry."""
    if matrix.ndim != 2 or not matrix.numel():
        raise ValueError(f"matrix: expected (n, m), got shape {tuple(matrix.shape)}")
    if not low < high:
        raise ValueError(f"high: got {high}; expected more than low, {low}")
    values = ((matrix.detach().float().cpu() - low) / (high - low)).clamp(0, 1).numpy()
    colours = matplotlib.colormaps["cividis"](values)[..., :3]
    return torch.from_numpy(2 * colours - 1).permute(2, 0, 1).float()


@dataclass(frozen=True)
class Result:
    """What one scale makes of the matrix. `probabilities` (n, n): row i, picture i choosing a caption.

    `loss`: CLIP's symmetric loss; `own`: mean probability of the right caption; `rivals`: among how many captions a
    picture still hesitates, e to the mean entropy of the rows. `encoded`: JPEG bytes of the drawing.
    """

    scale: float
    probabilities: Tensor
    loss: float
    own: float
    rivals: float
    encoded: bytes

    @property
    def numbers(self) -> str:
        return (
            f"loss {self.loss:.2f} · right caption {self.own:.0%} on average · "
            f"a picture hesitates among {self.rivals:.1f} captions"
        )


class TemperatureCore:
    """A real similarity matrix: unit vectors `image_emb` and `text_emb` (n, D) of n pairs, with their `pictures`."""

    def __init__(self, image_emb: Tensor, text_emb: Tensor, pictures: Tensor, captions: Sequence[str] = ()):
        if image_emb.ndim != 2 or image_emb.shape != text_emb.shape:
            came = tuple(image_emb.shape), tuple(text_emb.shape)
            raise ValueError(f"text_emb: expected the shape of image_emb, {came[0]}, got {came[1]}")
        if len(check_pictures(pictures, "pictures")) != len(image_emb) or len(image_emb) < 2:
            raise ValueError(
                f"pictures: expected one for each of two or more vectors, got {len(pictures)} for {len(image_emb)}"
            )
        if captions and len(captions) != len(image_emb):
            raise ValueError(f"captions: got {len(captions)}; expected {len(image_emb)}, or none")
        self.pictures, self.captions = pictures.cpu(), list(captions)
        self.similarities = (image_emb @ text_emb.T).detach().cpu().float()

    def compute(self, scale: float) -> Result:
        """Everything at one scale 1/τ, which must be positive."""
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale: got {scale}; expected a positive number")
        logits, own = scale * self.similarities, torch.arange(len(self.similarities))
        logs = logits.log_softmax(1)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        entropy = -(logs.exp() * logs).sum(1).mean()
        return Result(
            scale,
            logs.exp(),
            float(loss),
            float(logs.diagonal().exp().mean()),
            float(entropy.exp()),
            plots.to_jpeg(self.draw([scale])),
        )

    def draw(self, scales: Sequence[float]) -> Image.Image:
        """The cosines, and beside them the probabilities at each scale; thumbnails name rows, numbers columns."""
        n, gap, top = len(self.similarities), 26, 44
        panels = {"cosines": heat(self.similarities, float(self.similarities.min()), 1.0)}
        for scale in scales:
            probabilities = (scale * self.similarities).softmax(1)
            panels[f"probabilities at 1/τ = {scale:g}"] = heat(probabilities, 0.0, 1.0)
        cell = SIDE if len(scales) == 1 else SIDE // 2
        left = SIDE + 22
        height = max(top + n * cell, top + 17 * len(self.captions) if len(scales) == 1 else 0)
        beside = 520 if self.captions and len(scales) == 1 else 0
        canvas = Image.new("RGB", (left + len(panels) * (n * cell + gap) - gap + beside, height), plots.PAPER)
        pen, small = ImageDraw.Draw(canvas), plots.font(10)
        for i, picture in enumerate(plots.as_bytes(self.pictures)):
            y = top + i * cell
            canvas.paste(Image.fromarray(picture).resize((cell - 2, cell - 2)), (left - cell, y + 1))
            pen.text((left - cell - 6, y + cell / 2), str(i + 1), fill=plots.INK, font=small, anchor="rm")
        for k, (title, picture) in enumerate(panels.items()):
            x = left + 4 + k * (n * cell + gap)
            pen.text((x, 6), title, fill=plots.INK, font=plots.font(13, bold=True))
            for j in range(n if len(scales) == 1 else 0):
                pen.text((x + (j + 0.5) * cell, top - 6), str(j + 1), fill=plots.INK, font=small, anchor="ms")
            pixels = np.repeat(np.repeat(plots.as_bytes(picture)[0], cell, 0), cell, 1)
            canvas.paste(Image.fromarray(pixels), (x, top))
        if beside:
            x = left + len(panels) * (n * cell + gap)
            for i, text in enumerate(self.captions):
                pen.text((x, top + 17 * i), f"{i + 1}  {text}", fill=plots.INK, font=plots.font(11))
        return canvas


class TemperatureSlider:
    """The widget: a slider over 1/τ, the cosines, the probabilities, and three numbers below them.

    `TemperatureSlider(image_emb, text_emb, pictures, captions)`; in a notebook, the last line shows it. The arrow
    keys move the slider, too.
    """

    def __init__(
        self,
        image_emb: Tensor,
        text_emb: Tensor,
        pictures: Tensor,
        captions: Sequence[str] = (),
        scale: float = 14.3,
    ):
        self.core = TemperatureCore(image_emb, text_emb, pictures, captions)
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        self._build(scale if scale in SCALES else SCALES[0])

    def _build(self, scale: float) -> None:
        import ipywidgets as w

        self.scale = w.SelectionSlider(
            options=[(f"{value:g}", value) for value in SCALES], value=scale, description="1/τ",
            style={"description_width": "76px"}, layout=w.Layout(width="560px"),
        )  # fmt: skip
        self.label, self.image, self.numbers = w.HTML(), w.Image(format="jpeg"), w.HTML()
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start")
        self.image.layout.display = "none"  # until there is a picture: an empty one shows as broken
        self.box = w.VBox([self.scale, self.label, self.image, self.numbers])
        self.box.add_class("temperature-slider")
        self.label.add_class("temperature-label")
        self.image.add_class("temperature-picture")
        self.scale.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "Temperature slider: run this cell in a notebook to drag it",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    def refresh(self) -> None:
        """Compute what the slider says."""
        self._worker.submit(self.scale.value)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self, scales: Sequence[float] = (1.0, 14.3, 100.0)):
        """The same as a picture that a notebook keeps: an `IPython.display.Image`, the matrix at several scales."""
        from IPython.display import Image as Shown

        return Shown(plots.to_jpeg(self.core.draw(scales)))

    def _asked(self, change: dict) -> None:
        self.label.value = f"<i>computing 1/τ = {change['new']:g} …</i>"
        self.refresh()

    def _work(self, scale: float) -> None:
        try:
            result = self.core.compute(scale)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            text = escape(f"{type(error).__name__}: {error}")
            self.label.value = f'<span style="color:#b00020">{text}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.numbers.value = escape(result.numbers)
        self.shown = result
        self.label.value = f"<b>1/τ = {scale:g}, τ = {1 / scale:.3g}</b>"
