"""A VAE with two latent numbers, drawn: the posteriors of some pictures in the plane, and what the plane decodes to.

A model is whatever has `encode(x) -> mean, logvar`, (n, 2) each, and `decode(z) -> pictures` for z (n, 2); the notebook
writes its own. What is drawn is what the weights are at that moment, so a model can be watched while it trains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from course_utils.evaluation.chunks import device_of
from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.losses import kl

REACH = 2.5  # the decoded grid spans [−REACH, REACH] in both latent numbers
NODES = 9  # of the grid, each way
SHARP = 3  # circles are drawn this much larger and shrunk, which smooths their edges
# Colours of the corners of the plane of factors: blue to orange one way, light to dark the other.
CORNERS = {(0, 0): "#56B4E9", (1, 0): "#E69F00", (0, 1): "#08306B", (1, 1): "#7A2000"}
_TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class PlaneVAE(Protocol):
    """What is asked of a model."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def decode(self, z: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class ToyRequest:
    """Which model to draw, by its KL weight."""

    weight: float

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        return f"β = {self.weight:g}"


@dataclass(frozen=True)
class ToyResult:
    """One model, looked at.

    `mean`, `std` (n, 2): the pictures' posteriors. `decoded` (NODES², C, H, W) in [-1, 1]: the grid, row by row from the
    upper left. `nats`: KL to the prior, mean over pictures; `error`: mean squared error of a pixel, from the means.
    `encoded`: JPEG bytes of the drawing.
    """

    request: ToyRequest
    mean: Tensor
    std: Tensor
    decoded: Tensor
    nats: float
    error: float
    encoded: bytes

    @property
    def numbers(self) -> str:
        return (
            f"KL {self.nats:.2f} nats per picture · mean squared error {self.error:.3f} · mean σ {self.std.mean():.3f}"
        )


class ToyVAECore:
    """Models by KL weight, and the pictures that all of them encode.

    `pictures` (n, C, H, W) in [-1, 1]; `factors` (n, 2): the two numbers that each was drawn from, which give it its colour.
    """

    def __init__(self, models: Mapping[float, PlaneVAE], pictures: Tensor, factors: Tensor):
        if not models:
            raise ValueError("models: got none; expected one for each of one or more weights")
        plots.as_bytes(pictures)  # which refuses what is no picture
        if factors.shape != (len(pictures), 2):
            raise ValueError(f"factors: got shape {tuple(factors.shape)}; expected ({len(pictures)}, 2)")
        self.models, self.pictures, self.factors = models, pictures.cpu(), factors.detach().cpu()
        self.colours = [_colour(*at) for at in _unit(self.factors).tolist()]

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(self.models)

    @torch.no_grad()
    def compute(self, request: ToyRequest, should_stop: ShouldStop = None) -> ToyResult:
        """Everything for one weight; another is a ValueError that names those there are. Quick: `should_stop` is not asked."""
        mean, std, decoded = self._look(request.weight)
        x_hat = self._decode(request.weight, mean)
        return ToyResult(
            request,
            mean,
            std,
            decoded,
            nats=float(kl(mean, 2 * std.log()).mean()),
            error=float((self.pictures - x_hat).square().mean()),
            encoded=plots.to_jpeg(self._side_by_side(mean, std, decoded)),
        )

    @torch.no_grad()
    def samples(self, weight: float, n: int, seed: int = 0) -> Tensor:
        """Decoded draws from the prior (n, C, H, W); the same z for every weight."""
        return self._decode(weight, torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)))

    @torch.no_grad()
    def overview(self, side: int = 198) -> Image.Image:
        """All weights beside each other: the plane above, the decoded grid below, `side` pixels wide each."""
        gap, top, title = 12, 22, plots.font(13, bold=True)
        canvas = Image.new("RGB", (len(self.models) * (side + gap) - gap, top + 2 * side + gap), plots.PAPER)
        pen = ImageDraw.Draw(canvas)
        for column, weight in enumerate(self.models):
            mean, std, decoded = self._look(weight)
            x = column * (side + gap)
            pen.text((x + side / 2, 2), f"β = {weight:g}", fill=plots.INK, font=title, anchor="ma")
            canvas.paste(self._plane(mean, std, side), (x, top))
            canvas.paste(_mosaic(decoded, side), (x, top + side + gap))
        return canvas

    def _look(self, weight: float) -> tuple[Tensor, Tensor, Tensor]:
        """Means and standard deviations (n, 2) of the pictures' posteriors, and the decoded grid."""
        mean, logvar = self._model(weight).encode(self.pictures.to(device_of(self._model(weight))))
        if mean.shape != (len(self.pictures), 2):
            raise ValueError(f"models: at {weight:g}, means have shape {tuple(mean.shape)}; expected (n, 2)")
        return mean.cpu(), (0.5 * logvar).exp().cpu(), self._decode(weight, nodes())

    def _decode(self, weight: float, z: Tensor) -> Tensor:
        model = self._model(weight)
        return model.decode(z.to(device_of(model))).clamp(-1, 1).cpu()

    def _model(self, weight: float) -> PlaneVAE:
        if weight not in self.models:
            names = ", ".join(f"{known:g}" for known in self.models)
            raise ValueError(f"weight: got {weight}; expected one of {names}")
        return self.models[weight]

    def _side_by_side(self, mean: Tensor, std: Tensor, decoded: Tensor, side: int = 432) -> Image.Image:
        """Some of the pictures in their colours, the plane with all of them, the decoded grid."""
        shown, tile, gap, top = self._corners(), 56, 26, 26
        left = 3 * tile + gap
        canvas = Image.new("RGB", (left + 2 * side + gap, top + side), plots.PAPER)
        pen, title = ImageDraw.Draw(canvas), plots.font(13, bold=True)
        pen.text((0, 4), "pictures x", fill=plots.INK, font=title)
        pen.text((left, 4), "posteriors q(z | x): one σ around μ", fill=plots.INK, font=title)
        pen.text((left + side + gap, 4), f"decoded: z from −{REACH:g} to {REACH:g}", fill=plots.INK, font=title)
        for i, index in enumerate(shown):
            x, y = i % 3 * tile, top + i // 3 * tile
            pen.rectangle((x, y, x + tile - 5, y + tile - 5), fill=self.colours[index])
            picture = Image.fromarray(plots.as_bytes(self.pictures[index])[0])
            canvas.paste(picture.resize((tile - 12, tile - 12), Image.Resampling.BILINEAR), (x + 4, y + 4))
        note = f"9 of {len(self.pictures)}; the\ncolour says where\nthe picture's two\nfactors are"
        pen.multiline_text((0, top + 3 * tile + 4), note, fill=plots.INK, font=plots.font(12), spacing=4)
        legend = "black: the prior,\none and two σ\n\ngrey: the square\ndecoded at right"
        pen.multiline_text((0, top + 3 * tile + 92), legend, fill=plots.INK, font=plots.font(12), spacing=4)
        canvas.paste(self._plane(mean, std, side), (left, top))
        canvas.paste(_mosaic(decoded, side), (left + side + gap, top))
        return canvas

    def _corners(self) -> list[int]:
        """Nine pictures that span the two factors, row by row: those nearest to the corners, the edges, the middle."""
        wanted = [(x, y) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.5, 1.0)]
        return torch.cdist(torch.tensor(wanted), _unit(self.factors)).argmin(1).tolist()

    def _plane(self, mean: Tensor, std: Tensor, side: int) -> Image.Image:
        """The posteriors as ellipses of one σ over the prior's circles; the frame grows until all means are in it."""
        reach = max(3.0, 1.08 * float(mean.abs().max())) if mean.isfinite().all() else 3.0
        big = SHARP * side
        scale, middle = big / (2 * reach), big / 2
        canvas = Image.new("RGB", (big, big), plots.PAPER)
        pen = ImageDraw.Draw(canvas)

        def ellipse(x: float, y: float, a: float, b: float, **look: Any) -> None:
            at, down = middle + scale * x, middle - scale * y
            a, b = max(scale * a, SHARP), max(scale * b, SHARP)
            pen.ellipse((at - a, down - b, at + a, down + b), **look)

        box = middle - scale * REACH, middle + scale * REACH
        pen.rectangle((box[0], box[0], box[1], box[1]), fill="#EFF1F4")
        for r in (1, 2):
            ellipse(0, 0, r, r, outline=plots.INK, width=2 * SHARP if r == 1 else SHARP)
        for (x, y), (a, b), colour in zip(mean.tolist(), std.tolist(), self.colours, strict=True):
            if math.isfinite(x + y + a + b):
                ellipse(x, y, a, b, outline=colour, width=2 * SHARP)
                ellipse(x, y, 2 / scale, 2 / scale, fill=colour)
        canvas = canvas.resize((side, side), Image.Resampling.LANCZOS)
        pen, tick = ImageDraw.Draw(canvas), max(t for t in _TICKS if t <= max(1.0, 0.8 * reach))
        pen.rectangle((0, 0, side - 1, side - 1), outline="#C8CCD2")
        for value in (-tick, 0, tick):
            at = side / 2 * (1 + value / reach)
            pen.text((at, side - 3), f"{value:g}", fill=plots.FAINT, font=plots.font(11), anchor="md")
            if value:
                pen.text((4, side - at), f"{value:g}", fill=plots.FAINT, font=plots.font(11), anchor="lm")
        return canvas


def nodes() -> Tensor:
    """The latents (NODES², 2) of the decoded grid, row by row from the upper left, as the plane is drawn."""
    axis = torch.linspace(-REACH, REACH, NODES)
    return torch.stack([axis.repeat(NODES), axis.flip(0).repeat_interleave(NODES)], dim=1)


def _mosaic(pictures: Tensor, side: int) -> Image.Image:
    """The decoded grid as one picture, its tiles edge to edge."""
    tiled = plots.tile(pictures, columns=NODES, scale=1, gap=0)
    return tiled.resize((side, side), Image.Resampling.BILINEAR)


def _unit(factors: Tensor) -> Tensor:
    """Both factors brought to [0, 1]."""
    low, high = factors.min(0).values, factors.max(0).values
    return ((factors - low) / (high - low).clamp(min=1e-9)).float()


def _colour(x: float, y: float) -> tuple[int, int, int]:
    """The colour of a point of the unit square, between those of the corners."""
    weights = {(0, 0): (1 - x) * (1 - y), (1, 0): x * (1 - y), (0, 1): (1 - x) * y, (1, 1): x * y}
    corners = [(weight, ImageColor.getrgb(CORNERS[corner])) for corner, weight in weights.items()]
    red, green, blue = (round(sum(weight * colour[k] for weight, colour in corners)) for k in range(3))
    return red, green, blue
