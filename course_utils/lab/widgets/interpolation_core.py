"""Two ways from one picture to another without widgets: which two and how far, in; both pictures, encoded, out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_utils.evaluation.chunks import device_of
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop

STEPS = 5


@dataclass(frozen=True)
class InterpolationRequest:
    """All that the pictures depend on: from picture `a` to picture `b`, at the share `t` of the way."""

    a: int = 0
    b: int = 1
    t: float = 0.5

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        return f"{1 - self.t:.0%} of picture {self.a}, {self.t:.0%} of picture {self.b}"


@dataclass(frozen=True)
class InterpolationResult:
    """The point on both ways, (3, H, W) in [-1, 1] each, and JPEG bytes of both side by side."""

    request: InterpolationRequest
    pixels: Tensor
    latents: Tensor
    encoded: bytes


class InterpolationCore:
    """Points between two of `pictures` (N, 3, H, W) in [-1, 1], in pixels and in the latents of `autoencoder`.

    autoencoder: with `encode(x).mode()` and `decode(z)`, such as `models.autoencoder.VAE`.
    """

    def __init__(self, autoencoder: nn.Module, pictures: Tensor):
        if len(check_pictures(pictures, "pictures")) < 2:
            raise ValueError(f"pictures: expected two or more, got {len(pictures)}")
        self.autoencoder, self.pictures = autoencoder, pictures.cpu()
        device = device_of(autoencoder)
        with torch.inference_mode():
            self.latents = autoencoder.encode(pictures.to(device)).mode()

    @torch.inference_mode()
    def between(self, a: int, b: int, ts: Tensor) -> tuple[Tensor, Tensor]:
        """The points at the shares ts (n,) of both ways: pictures (n, 3, H, W), and decoded latents alike."""
        for name, i in (("a", a), ("b", b)):
            if not isinstance(i, int) or not 0 <= i < len(self.pictures):
                raise ValueError(f"{name}: got {i!r}; expected a picture's number, 0 to {len(self.pictures) - 1}")
        if not bool(((ts >= 0) & (ts <= 1)).all()):
            raise ValueError(f"t: got {ts.tolist()}; expected 0 to 1")
        t = ts.view(-1, 1, 1, 1)
        pixels = torch.lerp(self.pictures[a], self.pictures[b], t)
        z = torch.lerp(self.latents[a], self.latents[b], t.to(self.latents))
        return pixels, self.autoencoder.decode(z).clamp(-1, 1).cpu()

    def compute(self, request: InterpolationRequest, should_stop: ShouldStop = None) -> InterpolationResult:
        """One point on both ways. Quick, so `should_stop` is not asked."""
        pixels, latents = (x[0] for x in self.between(request.a, request.b, torch.tensor([float(request.t)])))
        encoded = plots.to_jpeg(torch.stack([pixels, latents]), columns=2, scale=plots.zoom(pixels, 256))
        return InterpolationResult(request, pixels, latents, encoded)

    def overview(self, a: int = 0, b: int = 1):
        """Both ways in five steps, a row each, as a tiled picture."""
        ts = torch.linspace(0, 1, STEPS)
        pixels, latents = self.between(a, b, ts)
        columns = [f"t = {t:.2f}" for t in ts.tolist()]
        rows = {"in pixels": pixels, "in latents": latents}
        return plots.labelled_rows(rows, scale=plots.zoom(pixels), column_labels=columns)
