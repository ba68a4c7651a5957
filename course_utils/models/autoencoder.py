"""The variational autoencoder: 64×64×3 pictures ↔ 8×8×4 latents, 48 times fewer numbers.

Kingma & Welling 2014; the convolutional form with a factor f = 8 and 4 channels is Stable Diffusion's
(Rombach et al. 2022, §3.1).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils import losses
from course_utils.images import check_input, to_float
from course_utils.models.configured import Configured, sizes
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


@dataclass(frozen=True)
class VAEConfig:
    """Channels at 32, 16 and 8 pixels a side, and of the latent."""

    widths: tuple[int, int, int] = (32, 64, 128)
    latent_channels: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))  # JSON has lists only


class Encoder(nn.Sequential):
    """(B, 3, 64, 64) → (B, 2C, 8, 8): mean and log σ²."""

    def __init__(self, config: VAEConfig):
        a, b, c = config.widths
        super().__init__(
            nn.Conv2d(3, a, 4, stride=2, padding=1),  # 32 × 32
            nn.SiLU(),
            nn.Conv2d(a, b, 4, stride=2, padding=1),  # 16 × 16
            ResBlock(b),
            nn.Conv2d(b, c, 4, stride=2, padding=1),  # 8 × 8
            ResBlock(c),
            nn.GroupNorm(8, c),
            nn.SiLU(),
            nn.Conv2d(c, 2 * config.latent_channels, 3, padding=1),
        )


class Upsample(nn.Module):
    """A convolution, then nearest-neighbour to twice the side."""

    def __init__(self, wide: int, narrow: int):
        super().__init__()
        self.conv = nn.Conv2d(wide, narrow, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        # Convolving first costs a quarter of convolving afterwards.
        return F.interpolate(self.conv(x), scale_factor=2.0, mode="nearest")


class ToPicture(nn.Module):
    """Features (B, C, 32, 32) → pictures (B, 3, 64, 64): a pixel shuffle (Shi et al. 2016) plus fine light and dark.

    The shuffle draws what is smooth; asked for texture, it repeats itself every second pixel. For texture there is a
    fixed pattern of noise, which smooth features let through where they want it (noise inputs: Karras et al. 2019,
    §3.2; here the pattern is the same in every picture, so that the decoder stays a function). Texture is added to all
    three colours alike: as noise in each of them it would be confetti. It starts at zero, and a decoder trained
    with L2 has little use for it: noise that isn't the picture's own costs more than none.
    """

    def __init__(self, channels: int, fine: int = 8):
        super().__init__()
        self.coarse = nn.Conv2d(channels, 12, 3, padding=1)
        self.fine = nn.Conv2d(channels, fine, 3, padding=1)
        self.mix = nn.Conv2d(2 * fine, 1, 3, padding=1)
        for p in self.mix.parameters():
            nn.init.zeros_(p)
        pattern = torch.randn(1, fine, 64, 64, generator=torch.Generator().manual_seed(0))
        self.register_buffer("pattern", pattern, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = F.interpolate(self.fine(x), scale_factor=2.0, mode="bilinear")  # (B, fine, 64, 64)
        return F.pixel_shuffle(self.coarse(x), 2) + self.mix(torch.cat([h, h * self.pattern], dim=1))


class Decoder(Configured, nn.Sequential):
    """(B, C, 8, 8) → (B, 3, 64, 64)."""

    Config = VAEConfig

    def __init__(self, config: VAEConfig):
        a, b, c = config.widths
        super().__init__(
            nn.Conv2d(config.latent_channels, c, 3, padding=1),
            ResBlock(c),
            ResBlock(c),
            Upsample(c, b),  # 16 × 16
            ResBlock(b),
            Upsample(b, a),  # 32 × 32
            ResBlock(a),
            nn.GroupNorm(8, a),
            nn.SiLU(),
            ToPicture(a),  # 64 × 64
        )
        self.config = config

    @property
    def last_layer(self) -> Tensor:
        """The weight whose gradients balance the adversarial loss (Esser et al. 2021, eq. 7)."""
        return self[-1].mix.weight


class VAE(Configured, nn.Module):
    """Encoder, decoder and the statistics that bring a latent to unit scale.

    `latent_mean` and `latent_std` (C, 1, 1) are measured on the training set after training and kept as buffers.
    """

    Config = VAEConfig
    side = 64

    def __init__(self, config: VAEConfig | None = None):
        super().__init__()
        self.config = config or VAEConfig()
        self.encoder, self.decoder = Encoder(self.config), Decoder(self.config)
        shape = (self.config.latent_channels, 1, 1)
        self.register_buffer("latent_mean", torch.zeros(shape))
        self.register_buffer("latent_std", torch.ones(shape))

    def encode(self, x: Tensor) -> DiagonalGaussian:
        """Pictures (B, 3, 64, 64) in [-1, 1] → the posterior over raw latents (B, 4, 8, 8)."""
        return DiagonalGaussian(self.encoder(check_input(x, "x", self.side)))

    def decode(self, z: Tensor) -> Tensor:
        """Raw latents (B, 4, 8, 8) → pictures (B, 3, 64, 64), not clipped."""
        side, channels = self.side // 8, self.config.latent_channels
        if z.ndim != 4 or z.shape[1:] != (channels, side, side):
            raise ValueError(f"z: expected latents of shape (B, {channels}, {side}, {side}), got {tuple(z.shape)}")
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


class VAESweep(nn.Module):
    """Small VAEs that differ only in the KL weight they were trained with (notebook 02): `sweep[0.1]` is one of them.

    Weight 0 is a plain autoencoder.
    """

    def __init__(
        self,
        weights: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        config: VAEConfig | None = None,
    ):
        super().__init__()
        self.weights, self.config = tuple(weights), config or VAEConfig(widths=(16, 32, 64))
        self.members = nn.ModuleList(self.fresh() for _ in self.weights)

    def config_dict(self) -> dict:
        return {"weights": list(self.weights), **asdict(self.config)}

    @classmethod
    def from_config(cls, config: dict) -> VAESweep:
        weights, own = config["weights"], {name: value for name, value in config.items() if name != "weights"}
        numbers = isinstance(weights, list) and all(type(w) in (int, float) and 0 <= w < math.inf for w in weights)
        if not numbers or len(weights) > 64:
            raise ValueError(f"weights: got {str(weights)[:60]}; expected up to 64 numbers of 0 or more")
        return cls(tuple(weights), sizes(VAEConfig, own))

    def fresh(self) -> VAE:
        """An untrained VAE of the sweep's size."""
        return VAE(self.config)

    def __getitem__(self, weight: float) -> VAE:
        if weight not in self.weights:
            raise KeyError(f"weight: got {weight}; the sweep holds {', '.join(f'{w:g}' for w in self.weights)}")
        return self.members[self.weights.index(weight)]
