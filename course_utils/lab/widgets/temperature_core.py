"""The temperature slider without widgets: a scale 1/τ in; the matrix of probabilities, drawn and encoded, the loss
and two more numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.drawing import heat
from course_utils.lab.widgets.latest import ShouldStop

SCALES = (1.0, 2.0, 5.0, 10.0, 14.3, 20.0, 30.0, 50.0, 70.0, 100.0, 200.0, 500.0, 1000.0)
SIDE = 34  # pixels of a cell, and of the thumbnail beside its row


@dataclass(frozen=True)
class TemperatureRequest:
    """All that the matrix depends on: the scale 1/τ."""

    scale: float

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        return f"1/τ = {self.scale:g}, τ = {1 / self.scale:.3g}"


@dataclass(frozen=True)
class TemperatureResult:
    """What one scale makes of the matrix. `probabilities` (n, n): row i, picture i choosing a caption.

    `loss`: CLIP's symmetric loss; `own`: mean probability of the right caption; `rivals`: among how many captions a
    picture still hesitates, e to the mean entropy of the rows. `encoded`: JPEG bytes of the drawing.
    """

    request: TemperatureRequest
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

    def compute(self, request: TemperatureRequest, should_stop: ShouldStop = None) -> TemperatureResult:
        """Everything at one scale 1/τ, which must be positive. Quick, so `should_stop` is not asked."""
        scale = request.scale
        if not 0 < scale < float("inf"):
            raise ValueError(f"scale: got {scale}; expected a positive number")
        logits, own = scale * self.similarities, torch.arange(len(self.similarities))
        logs = logits.log_softmax(1)
        loss = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        entropy = -(logs.exp() * logs).sum(1).mean()
        return TemperatureResult(
            request,
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
        canvas = Image.new("RGB", (left + 4 + len(panels) * (n * cell + gap) - gap + beside, height), plots.PAPER)
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
