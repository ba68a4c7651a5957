"""In the place of a VAE: pixels that are their own latents (notebook 09's rival of latent diffusion)."""

from __future__ import annotations

from torch import Tensor

from course_utils.images import check_pictures


class Pixels:
    """Pictures (B, 3, H, W) in [-1, 1] ↔ the same numbers with mean 0 and deviation 1 over the pictures it is made from."""

    def __init__(self, pictures: Tensor):
        check_pictures(pictures, "pictures")
        self.mean, self.std = pictures.mean(), pictures.std()

    def to_latent(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def to_picture(self, z: Tensor) -> Tensor:
        """Latents -> pictures, clipped to [-1, 1]."""
        return (z * self.std + self.mean).clamp(-1, 1)
