"""The KL slider without widgets: a KL weight in; pictures, encoded, and three numbers out.

The same pictures and the same noise at every weight, so that all that changes is the work of one number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.evaluation.chunks import device_of
from course_utils.evaluation.latent_statistics import active_dimensions, posteriors
from course_utils.evaluation.metrics import psnr
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.models.vector_autoencoder import VAESweep, VectorVAE

COLUMNS = 7
SCALE = 2  # the sweep's pictures have 64 pixels a side
ROWS = ("pictures", "decoded", "from the prior")


@dataclass(frozen=True)
class KLRequest:
    """All that the pictures depend on."""

    weight: float
    seed: int = 0

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        kind = " (plain autoencoder)" if self.weight == 0 else ""
        return f"β = {self.weight:g}{kind} · noise {self.seed}"


@dataclass(frozen=True)
class KLResult:
    """What one VAE of the sweep makes of the pictures and of noise.

    `reconstructions`, `samples` (n, 3, 64, 64) in [-1, 1]; `encoded`: JPEG bytes of all three rows. `psnr` in dB, mean
    over all pictures of the core; `active`: how many of `dimensions` numbers vary with the picture.
    """

    request: KLRequest
    reconstructions: Tensor
    samples: Tensor
    encoded: bytes
    psnr: float
    active: int
    dimensions: int

    @property
    def numbers(self) -> str:
        return f"PSNR {self.psnr:.1f} dB · {self.active} of {self.dimensions} dimensions active"


class KLSliderCore:
    """Reconstructions and prior samples for each weight of a sweep.

    `pictures` (N, 3, 64, 64) in [-1, 1], the size of the sweep's models: the first seven are shown, all of them are
    measured (take a few hundred).
    """

    def __init__(self, sweep: VAESweep, pictures: Tensor):
        if len(check_pictures(pictures, "pictures", VectorVAE.side)) < 2:
            raise ValueError(f"pictures: expected two or more, got {len(pictures)}")
        self.sweep, self.pictures = sweep, pictures.cpu()
        self._measured: dict[float, tuple[float, int, int]] = {}

    @property
    def weights(self) -> tuple[float, ...]:
        return self.sweep.weights

    @torch.inference_mode()
    def compute(self, request: KLRequest, should_stop: ShouldStop = None) -> KLResult:
        """Everything for one weight of the sweep; another weight is a ValueError that names those there are.

        Quick, so `should_stop` is not asked.
        """
        weight, seed = request.weight, request.seed
        if weight not in self.weights:
            raise ValueError(f"weight: got {weight}; expected one of {', '.join(f'{w:g}' for w in self.weights)}")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}; expected a whole number, 0 or more")
        model, shown = self.sweep[weight], self.pictures[:COLUMNS]
        device = device_of(model)
        shape = model.latent_shape(model.side)
        noise = torch.randn(len(shown), *shape, generator=torch.Generator().manual_seed(seed)).to(device)
        made = model.decode(torch.cat([model.encode(shown.to(device)).mode(), noise])).clamp(-1, 1).cpu()
        reconstructions, samples = made.split(len(shown))
        rows = dict(zip(ROWS, (shown, reconstructions, samples), strict=True))
        encoded = plots.to_jpeg(plots.labelled_rows(rows, scale=SCALE))
        return KLResult(request, reconstructions, samples, encoded, *self._measure(weight))

    def _measure(self, weight: float) -> tuple[float, int, int]:
        """PSNR and active dimensions over all pictures; they do not depend on the noise, so once is enough."""
        if weight not in self._measured:
            model, x = self.sweep[weight], self.pictures
            device = device_of(model)
            mean, _ = posteriors(model, x)
            x_hat = model.decode(mean[:, :, None, None].to(device)).clamp(-1, 1).cpu()
            active = active_dimensions(mean)
            self._measured[weight] = float(psnr(x, x_hat).mean()), int(active.sum()), len(active)
        return self._measured[weight]

    def overview(self, seed: int = 0, columns: int = 6):
        """All weights at once as a tiled picture: reconstructions left, prior samples of the same noise right."""
        half = min(columns // 2, len(self.pictures))
        results = [self.compute(KLRequest(w, seed)) for w in self.weights]
        rows = {"pictures": torch.cat([self.pictures[:half], torch.ones_like(self.pictures[:half])])}
        for r in results:
            rows[f"β\u00a0=\u00a0{r.request.weight:g}"] = torch.cat([r.reconstructions[:half], r.samples[:half]])
        labels = [""] * 2 * half
        labels[0], labels[half] = "decoded", "sampled"
        return plots.labelled_rows(rows, scale=SCALE, column_labels=labels)
