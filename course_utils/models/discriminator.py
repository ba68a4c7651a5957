"""PatchGAN: a discriminator that judges patches, not pictures (Isola et al. 2017, §3.2.2)."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm


class PatchDiscriminator(nn.Sequential):
    """(B, 3, 64, 64) → (B, 1, 14, 14) scores; each looks at a patch of 18 × 18 pixels.

    Spectral normalisation bounds the slope of every layer but the last (Miyato et al. 2018), so the hinge loss stays
    useful however well the discriminator does. The last layer is free to find the scale at which the hinge bends:
    fur is faint, and bounded all the way the scores stay near 0. No normalisation mixes the pictures of a batch.
    """

    def __init__(self, width: int = 48):
        def conv(cin: int, cout: int, kernel: int, stride: int, padding: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(cin, cout, kernel, stride, padding))

        super().__init__(
            conv(3, width, 4, 2, 1),  # 32 × 32
            nn.LeakyReLU(0.2),
            conv(width, 2 * width, 4, 2, 1),  # 16 × 16
            nn.LeakyReLU(0.2),
            conv(2 * width, 2 * width, 3, 1, 0),  # 14 × 14
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 1),
        )
