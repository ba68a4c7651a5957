"""How much of a picture is news? Four measures of redundancy (notebook 01), each computed by a library.

Neighbours that agree, few principal components, few cosine waves, a short file: four views of the same fact, that the
numbers of a picture are far from independent.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from scipy.fft import dctn
from torch import Tensor

from course_utils.arguments import whole


def _batch(x: Tensor, name: str = "x") -> Tensor:
    if not isinstance(x, Tensor) or x.ndim != 4:
        came = tuple(getattr(x, "shape", ())) or type(x).__name__
        raise ValueError(f"{name}: got {came}; expected a batch (N, C, H, W)")
    return x.detach().cpu().double()  # not every device has float64


def neighbour_correlation(x: Tensor, distance: int = 1) -> float:
    """Pearson correlation of numbers that lie `distance` apart, across and down: (N, C, H, W) → [-1, 1].

    All channels and both directions are pooled. 1 means that each number determines its neighbour, 0 that it does not
    help to predict it by a straight line.
    """
    x = _batch(x)
    if not isinstance(distance, int) or not 1 <= distance < min(x.shape[2:]):
        raise ValueError(f"distance: got {distance!r}; expected a whole number from 1 to {min(x.shape[2:]) - 1}")
    d = distance
    pairs = [(x[..., :-d], x[..., d:]), (x[..., :-d, :], x[..., d:, :])]
    a, b = (torch.cat([pair[k].flatten() for pair in pairs]) for k in (0, 1))
    return float(torch.corrcoef(torch.stack([a, b]))[0, 1])


def pca_energy(x: Tensor) -> Tensor:
    """The share of variance that each principal component holds, the largest first: (N, C, H, W) → (min(N, D),).

    N pictures determine at most N - 1 components; use many more pictures than components that matter.
    """
    rows = _batch(x).flatten(1)
    if len(rows) < 2:
        raise ValueError(f"x: got {len(rows)}; expected two pictures or more")
    energy = torch.linalg.svdvals(rows - rows.mean(0)).square()
    return energy / energy.sum()


def principal_directions(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """PCA: float pictures (N, C, H, W) → their mean (D,) and the k < N directions (k, D) in which they vary most.

    D = C·H·W. The directions are orthonormal rows, so a picture's k numbers are `(row - mean) @ directions.T`. For
    N < D it is cheaper to ask for the N × N products of pictures than for the D × D covariance (Turk & Pentland 1991).
    """
    _batch(x[:1])
    whole("k", k, 1, len(x) - 1)
    rows = x.detach().cpu().flatten(1)
    mean = rows.mean(0)
    rows = rows - mean
    vectors = torch.linalg.eigh((rows @ rows.T).double()).eigenvectors  # the largest eigenvalue comes last
    directions = vectors[:, -k:].flip(1).T.to(rows.dtype) @ rows
    return mean, directions / directions.norm(dim=1, keepdim=True)


def dct_energy(x: Tensor) -> Tensor:
    """The share of energy that each cosine wave holds, in each picture the largest first: (N, C, H, W) → (N, C·H·W).

    The waves of the discrete cosine transform (DCT-II, orthonormal) over height and width, by SciPy. The
    constant wave, the mean of a channel, is left out: it would hide the rest.
    """
    waves = dctn(_batch(x).numpy(), axes=(2, 3), norm="ortho")
    waves[:, :, 0, 0] = 0
    energy = torch.from_numpy(waves).square().flatten(1)
    total = energy.sum(1, keepdim=True).clamp_min(1e-12)
    return (energy / total).sort(dim=1, descending=True).values


def png_bits_per_pixel(pictures: Tensor) -> Tensor:
    """The size of each picture as a PNG file, in bits per pixel: uint8 (N, C, H, W) → (N,). Raw it would be 8 · C.

    C is 3, or 1 for grey pictures. PNG is lossless, so this is an upper bound on the information in the picture. The header of about 60 bytes counts.
    """
    bytes_came = isinstance(pictures, Tensor) and pictures.dtype == torch.uint8
    if not bytes_came or pictures.ndim != 4 or pictures.shape[1] not in (1, 3):
        came = f"{getattr(pictures, 'dtype', type(pictures).__name__)} {tuple(getattr(pictures, 'shape', ()))}"
        raise ValueError(f"pictures: got {came}; expected uint8 (N, 3, H, W) or (N, 1, H, W)")
    bits = []
    for picture in pictures.permute(0, 2, 3, 1).cpu().numpy():
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)).save(
            file, "png", optimize=True
        )
        bits.append(8 * len(file.getvalue()) / (picture.shape[0] * picture.shape[1]))
    return torch.tensor(bits)
