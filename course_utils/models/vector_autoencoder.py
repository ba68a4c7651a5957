"""VAEs whose latent is a vector, and a family of them that differ in β (notebook 02).

A grid of latents that are drawn independently of each other will hardly ever be a picture: each place would have to guess
what the others are about to draw. A latent *vector* says it to all places at once, so such a VAE can be sampled from its
prior, as in Kingma & Welling (2014).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from torch import Tensor, nn

from course_utils.images import check_input
from course_utils.models.autoencoder import Autoencoder, DiagonalGaussian, down, up
from course_utils.models.configured import sizes


@dataclass(frozen=True)
class VectorVAEConfig:
    """Channels at 32, 16, 8 and 4 pixels a side, and the numbers of a latent."""

    widths: tuple[int, int, int, int] = (16, 32, 64, 96)
    latent: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists only


class VectorVAE(Autoencoder):
    """Pictures (B, 3, 64, 64) ↔ latent vectors, which are kept as maps of one place: (B, D, 1, 1)."""

    Config = VectorVAEConfig
    factor = side = 64

    def __init__(self, config: VectorVAEConfig | None = None):
        config = config or VectorVAEConfig()
        last = config.widths[-1]
        encoder = nn.Sequential(*down(config.widths), nn.Conv2d(last, 2 * config.latent, 4))
        decoder = nn.Sequential(nn.ConvTranspose2d(config.latent, last, 4), *up(config.widths))
        super().__init__(encoder, decoder, config.latent)
        self.config = config

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Pictures (B, 3, 64, 64) in [-1, 1] → the posterior over raw latents (B, D, 1, 1)."""
        return DiagonalGaussian(self.encoder(check_input(x, "x", self.side)))

    def decode(self, z: Tensor) -> Tensor:
        """Raw latents (B, D, 1, 1) → pictures (B, 3, 64, 64), not clipped."""
        if z.shape[1:] != (self.config.latent, 1, 1):
            raise ValueError(f"z: expected latents of shape (B, {self.config.latent}, 1, 1), got {tuple(z.shape)}")
        return self.decoder(z)


class VAESweep(nn.Module):
    """VAEs that differ only in the KL weight they were trained with (notebook 02): `sweep[0.1]` is one of them.

    Weight 0 is a plain autoencoder.
    """

    def __init__(
        self,
        weights: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0),
        config: VectorVAEConfig | None = None,
    ):
        super().__init__()
        self.weights, self.config = tuple(weights), config or VectorVAEConfig()
        self.members = nn.ModuleList(self.fresh() for _ in self.weights)

    def config_dict(self) -> dict:
        return {"weights": list(self.weights), **asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict) -> VAESweep:
        weights, own = config["weights"], {name: value for name, value in config.items() if name != "weights"}
        numbers = isinstance(weights, list) and all(type(w) in (int, float) and 0 <= w < math.inf for w in weights)
        if not numbers or len(weights) > 64:
            raise ValueError(f"weights: got {str(weights)[:60]}; expected up to 64 numbers of 0 or more")
        return cls(tuple(weights), sizes(VectorVAEConfig, own))

    def fresh(self) -> VectorVAE:
        """An untrained VAE of the sweep's size."""
        return VectorVAE(self.config)

    def __getitem__(self, weight: float) -> VectorVAE:
        if weight not in self.weights:
            raise KeyError(f"weight: got {weight}; the sweep holds {', '.join(f'{w:g}' for w in self.weights)}")
        return self.members[self.weights.index(weight)]
