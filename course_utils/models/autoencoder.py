"""The variational autoencoder: pictures of 128×128×3 ↔ latents of 16×16×4, 48 times fewer numbers.

Kingma & Welling 2014; the convolutional form with a factor f = 8 and 4 channels is Stable Diffusion's
(Rombach et al. 2022, §3.1). It takes pictures of any sides that 8 divides, and trains on crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import losses
from course_utils.images import check_input, to_float
from course_utils.models.configured import Configured
from course_utils.models.layers import ResBlock


class DiagonalGaussian:
    """q(z|x) = N(mean, diag(std²)): what the encoder says about a picture's latent.

    `parameters` (B, 2C, h, w) holds the mean in its first C channels and log σ² in its last C.
    """

    def __init__(self, parameters: Tensor):
        self.mean, logvar = parameters.chunk(2, dim=1)
        # A floor and a ceiling keep exp() finite in the first steps of training.
        self.logvar = logvar.clamp(-20.0, 10.0)

    @property
    def std(self) -> Tensor:
        return torch.exp(0.5 * self.logvar)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """z = mean + std · ε with ε ~ N(0, I): the reparameterisation (Kingma & Welling 2014, §2.4)."""
        eps = torch.randn(
            self.mean.shape, generator=generator, device=generator.device if generator else self.mean.device
        )
        return self.mean + self.std * eps.to(self.mean)

    def mode(self) -> Tensor:
        return self.mean

    def kl(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) in nats, summed over a picture's latent: (B,)."""
        return losses.kl(self.mean, self.logvar)


class Upsample(nn.Module):
    """A convolution, then nearest-neighbour to twice the side."""

    def __init__(self, wide: int, narrow: int):
        super().__init__()
        self.conv = nn.Conv2d(wide, narrow, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # Convolving first costs a quarter of convolving afterwards.
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="nearest")


def down(widths: Sequence[int]) -> list[nn.Module]:
    """Pictures → features of widths[-1] channels; each width halves the side."""
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=2, padding=1), nn.SiLU()]
    for wide, wider in pairwise(widths):
        layers += [nn.Conv2d(wide, wider, 4, stride=2, padding=1), ResBlock(wider)]
    return [*layers, nn.GroupNorm(8, widths[-1]), nn.SiLU()]


def up(widths: Sequence[int]) -> list[nn.Module]:
    """The way back: features of widths[-1] channels → pictures."""
    layers: list[nn.Module] = [ResBlock(widths[-1]), ResBlock(widths[-1])]
    for wide, narrow in pairwise(reversed(widths)):
        layers += [Upsample(wide, narrow), ResBlock(narrow)]
    half = widths[0] // 2
    layers += [nn.GroupNorm(8, widths[0]), nn.SiLU(), Upsample(widths[0], half)]
    return [*layers, nn.GroupNorm(8, half), nn.SiLU(), nn.Conv2d(half, 3, 3, padding=1)]


class Autoencoder(Configured, nn.Module):
    """An encoder that names a posterior, a decoder, and the statistics that bring a latent to unit scale.

    `latent_mean` and `latent_std` (C, 1, 1) are measured on the training set after training and kept as buffers.
    """

    factor: int  # the side of a picture by that of its latent

    def __init__(self, encoder: nn.Module, decoder: nn.Module, channels: int):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1))

    def latent_shape(self, side: int) -> tuple[int, int, int]:
        """(C, h, w) of the latent of a picture of side × side."""
        return len(self.latent_mean), side // self.factor, side // self.factor

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Pictures (B, 3, H, W) in [-1, 1] → the posterior over raw latents (B, C, h, w)."""
        check_input(x)
        if x.shape[2] % self.factor or x.shape[3] % self.factor or 0 in x.shape[2:]:
            raise ValueError(f"x: expected sides that {self.factor} divides, got {x.shape[2]}×{x.shape[3]} pixels")
        return DiagonalGaussian(self.encoder(x))

    def decode(self, z: Tensor) -> Tensor:
        """Raw latents (B, C, h, w) → pictures (B, 3, H, W), not clipped."""
        channels = len(self.latent_mean)
        if z.ndim != 4 or z.shape[1] != channels or 0 in z.shape[2:]:
            raise ValueError(f"z: expected latents of shape (B, {channels}, h, w), got {tuple(z.shape)}")
        return self.decoder(z)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, DiagonalGaussian]:
        """x → (x̂, q(z|x)) through one sampled latent."""
        posterior = self.encode(x)
        return self.decode(posterior.sample(generator)), posterior

    def normalise(self, z: Tensor) -> Tensor:
        return (z - self.latent_mean) / self.latent_std

    def denormalise(self, z: Tensor) -> Tensor:
        return z * self.latent_std + self.latent_mean

    def to_latent(self, x: Tensor) -> Tensor:
        """Pictures → normalised latents, the space the denoiser works in."""
        return self.normalise(self.encode(x).mode())

    def to_picture(self, z: Tensor) -> Tensor:
        """Normalised latents → pictures, clipped to [-1, 1]."""
        return self.decode(self.denormalise(z)).clamp(-1.0, 1.0)

    @torch.no_grad()
    def measure_latents(self, pictures: Tensor) -> None:
        """Set `latent_mean` and `latent_std` from uint8 or float pictures, a few thousand of them."""
        self.latent_mean.zero_()
        self.latent_std.fill_(1.0)
        parts = [
            self.encode(x if x.is_floating_point() else to_float(x)).mode()
            for x in pictures.to(self.latent_mean.device).split(256)
        ]
        z = torch.cat(parts)
        self.latent_mean.copy_(z.mean((0, 2, 3))[:, None, None])
        self.latent_std.copy_(z.std((0, 2, 3))[:, None, None])


@dataclass(frozen=True)
class VAEConfig:
    """Channels at a half, a quarter and an eighth of a picture's side, and of the latent."""

    widths: tuple[int, int, int] = (32, 64, 128)
    latent_channels: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists only


class Encoder(nn.Sequential):
    """(B, 3, H, W) → (B, 2C, H/8, W/8): mean and log σ²."""

    def __init__(self, config: VAEConfig):
        super().__init__(*down(config.widths), nn.Conv2d(config.widths[-1], 2 * config.latent_channels, 3, padding=1))


class Decoder(Configured, nn.Sequential):
    """(B, C, h, w) → (B, 3, 8h, 8w)."""

    Config = VAEConfig

    def __init__(self, config: VAEConfig):
        super().__init__(nn.Conv2d(config.latent_channels, config.widths[-1], 3, padding=1), *up(config.widths))
        self.config = config

    @property
    def last_layer(self) -> Tensor:
        """The weight whose gradients balance the adversarial loss (Esser et al. 2021, eq. 7)."""
        return self[-1].weight


class VAE(Autoencoder):
    """The course's: latents are maps, (B, 4, H/8, W/8)."""

    Config = VAEConfig
    factor = 8

    def __init__(self, config: VAEConfig | None = None):
        config = config or VAEConfig()
        super().__init__(Encoder(config), Decoder(config), config.latent_channels)
        self.config = config
