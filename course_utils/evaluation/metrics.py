"""Numbers for pictures and embeddings. Pictures are (B, 3, H, W) floats in [-1, 1] everywhere.

Distances between two pictures (PSNR, SSIM, LPIPS), the power that pictures have at each spatial frequency, and what
CLIP retrieves. How far two sets of pictures are apart is in `kernel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_utils.checkpoints import load
from course_utils.evaluation.chunks import device_of, in_chunks
from course_utils.images import check_pictures
from course_utils.models.perceptual import lpips_network

DATA_RANGE = 2.0  # of pictures in [-1, 1]
CHUNK = 128  # pictures that a network sees at once


def _pairs(x: Tensor, y: Tensor) -> None:
    check_pictures(x, "x")
    check_pictures(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"y: got {tuple(y.shape)}; expected the shape of x, {tuple(x.shape)}")


def _as_images(x: Tensor) -> np.ndarray:
    """(B, 3, H, W) → float64 (B, H, W, 3), as scikit-image wants them. Overshoot from rounding is clipped.

    On the CPU first: not every device has float64.
    """
    return x.detach().clamp(-1.0, 1.0).permute(0, 2, 3, 1).cpu().double().numpy()


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB, (B,); infinite for equal pictures."""
    from skimage.metrics import peak_signal_noise_ratio

    _pairs(x, y)
    with np.errstate(divide="ignore"):
        values = [
            peak_signal_noise_ratio(a, b, data_range=DATA_RANGE)
            for a, b in zip(_as_images(x), _as_images(y), strict=True)
        ]
    return torch.tensor(values, dtype=torch.float32)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of each pair (Wang et al. 2004, scikit-image's 7×7 windows): (B,), 1 if equal.

    Taken on [0, 1]: its luminance term compares means and is made for light, which is never negative. On
    [-1, 1] the same two pictures would get another number, and not the one that papers report.
    """
    from skimage.metrics import structural_similarity

    _pairs(x, y)
    values = [
        structural_similarity((a + 1) / 2, (b + 1) / 2, data_range=DATA_RANGE / 2, channel_axis=-1)
        for a, b in zip(_as_images(x), _as_images(y), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float32)


@lru_cache(maxsize=1)
def course_lpips() -> nn.Module:
    """LPIPS on the course's own backbone, from its checkpoint; loaded once."""
    return lpips_network(load("backbone"))


def perceptual_distance(x: Tensor, y: Tensor, net: nn.Module | None = None) -> Tensor:
    """LPIPS of each pair (Zhang et al. 2018): (B,), 0 for equal pictures.

    `net(x, y) -> (B, 1, 1, 1)` is an `lpips.LPIPS`, by default on the course's own backbone; it takes
    [-1, 1], not [0, 1]. For measuring only: no gradients flow.
    """
    _pairs(x, y)
    net = course_lpips() if net is None else net
    return in_chunks(lambda a, b: net(a, b).flatten(1).mean(1), x, y, size=CHUNK, on=device_of(net))


def lpips_diversity(pictures: Tensor, net: nn.Module | None = None) -> float:
    """Mean LPIPS over all pairs of different samples of one prompt: pictures (n, 3, H, W), n ≥ 2."""
    check_pictures(pictures, "pictures")
    if len(pictures) < 2:
        raise ValueError(f"pictures: got {len(pictures)}; expected at least 2 samples of one prompt")
    i, j = torch.triu_indices(len(pictures), len(pictures), offset=1)
    return float(perceptual_distance(pictures[i], pictures[j], net).mean())


def _power(pictures: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """`_power_of` pictures, after a look at them."""
    check_pictures(pictures, name)
    if not len(pictures):
        raise ValueError(f"{name}: got none; expected at least one picture")
    return _power_of(pictures)


def _power_of(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power spectrum over maps (N, C, H, W) and channels, (H, W), and the radial frequency of each entry, (H, W).

    Each channel's mean is removed, then a Hann window is laid over the map: a map's left edge does
    not continue its right one, and without the window that jump would pass for high frequencies. The scale
    is such that white noise of variance v has power v at every frequency.
    """
    height, width = maps.shape[2:]
    window = torch.outer(*(torch.hann_window(side, dtype=torch.float64) for side in (height, width)))
    total = torch.zeros(height, width, dtype=torch.float64)
    for part in maps.detach().cpu().split(CHUNK):
        x = part.double()
        x = (x - x.mean((2, 3), keepdim=True)) * window
        total += torch.fft.fft2(x).abs().square().mean(1).sum(0)
    power = total / len(maps) / window.square().sum()
    fy, fx = torch.fft.fftfreq(height, dtype=torch.float64), torch.fft.fftfreq(width, dtype=torch.float64)
    return power, torch.hypot(fy[:, None], fx[None, :])


def radial_power_spectrum(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Power density against spatial frequency: (frequencies in cycles/pixel, power), each (rings,).

    Power is averaged over pictures, channels and the directions in a ring. Rings are one cycle per picture
    side wide and centred on whole numbers of cycles, from 1 up to 0.5 cycles/pixel, the finest stripes that
    pixels can hold. Mean removed, Hann window.
    """
    return _rings(*_power(pictures, "pictures"))


def spectral_agreement(x: Tensor, y: Tensor) -> Tensor:
    """The correlation of two sets of pictures (N, 3, H, W), pair by pair, at each frequency of `radial_power_spectrum`.

    1: the same waves, whatever their strength; 0: waves that have nothing to do with each other.
    """
    _pairs(x, y)
    power = [radial_power_spectrum(pictures)[1] for pictures in (x, y, (x + y) / 2, (x - y) / 2)]
    return (power[2] - power[3]) / (power[0] * power[1]).sqrt()


def latent_power_spectrum(latents: Tensor) -> tuple[Tensor, Tensor]:
    """As `radial_power_spectrum`, of maps (N, C, h, w) with any channels and range: latents, or pictures brought to scale.

    Frequencies are in cycles per place. Noise of variance 1 has power 1 at all of them, so on the straight path detail of
    power P is as strong as the noise at t = √P / (1 + √P).
    """
    if not isinstance(latents, Tensor) or latents.ndim != 4 or not latents.is_floating_point() or 0 in latents.shape:
        raise ValueError(f"latents: got {tuple(getattr(latents, 'shape', ()))}; expected floats of shape (N, C, h, w)")
    return _rings(*_power_of(latents))


def _rings(power: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """Spectra (H, W), averaged over the directions in a ring."""
    side = min(power.shape)
    ring = (radius * side).round().long()
    inside = (ring >= 1) & (radius <= 0.5)
    rings = side // 2
    index = ring[inside] - 1
    total = torch.zeros(rings, dtype=torch.float64).index_add_(0, index, power[inside])
    count = torch.bincount(index, minlength=rings)
    return torch.arange(1, rings + 1, dtype=torch.float64) / side, total / count


def high_frequency_ratio(fake: Tensor, real: Tensor, above: float = 0.25) -> float:
    """Power of `fake` beyond `above` cycles/pixel over that of `real`: 1 if equally sharp, less if blurred.

    Counts every frequency whose radius is larger than `above`, diagonal ones beyond 0.5 too. The two sets may
    differ in number, not in size.
    """
    if not 0.0 <= above < 0.5:
        raise ValueError(f"above: got {above}; expected cycles per pixel in [0, 0.5)")
    power_fake, radius = _power(fake, "fake")
    power_real, _ = _power(real, "real")
    if power_fake.shape != power_real.shape:
        raise ValueError(
            f"fake: got pictures of {tuple(fake.shape[2:])}; expected real's size, {tuple(real.shape[2:])}"
        )
    high = radius > above
    return float(power_fake[high].sum() / power_real[high].sum())


def recall_at_1(image_emb: Tensor, text_emb: Tensor, captions: Sequence[str]) -> float:
    """How often is a picture's nearest caption (by cosine) its own? Embeddings (N, D), N captions.

    Equal captions count as right. Swap the embeddings to retrieve pictures by captions.
    """
    for name, emb in (("image_emb", image_emb), ("text_emb", text_emb)):
        if emb.ndim != 2 or len(emb) != len(captions) or not len(emb):
            came = tuple(emb.shape)
            raise ValueError(f"{name}: got {came}; expected {len(captions)} rows, as many as captions")
    if image_emb.shape != text_emb.shape:
        shapes = tuple(image_emb.shape), tuple(text_emb.shape)
        raise ValueError(f"text_emb: got {shapes[1]}; expected the shape of image_emb, {shapes[0]}")
    a, b = F.normalize(image_emb.detach().float(), dim=1), F.normalize(text_emb.detach().float(), dim=1)
    best = (a @ b.to(a.device).T).argmax(1).tolist()
    return sum(captions[j] == captions[i] for i, j in enumerate(best)) / len(best)


def power_by_wave(pictures: Tensor) -> Tensor:
    """Power of each wave (H, W), float64, the slowest in the middle: rows and columns from -0.5 to 0.5 cycles per pixel.

    The mean over pictures (N, 3, H, W) and channels, in the scale of `radial_power_spectrum`, which averages over directions.
    """
    return torch.fft.fftshift(_power(pictures, "pictures")[0])


def fidelity(x: Tensor, y: Tensor) -> dict[str, float]:
    """What is measured of pictures y that stand for x, (N, 3, H, W) both: three numbers by name.

    "PSNR" in dB and "course's LPIPS" are means over the pairs; "fine power" is `high_frequency_ratio` of y against x.
    """
    return {
        "PSNR": float(psnr(x, y).mean()),
        "course's LPIPS": float(perceptual_distance(x, y).mean()),
        "fine power": high_frequency_ratio(y, x),
    }


def corners_agree(pictures: Tensor) -> float:
    """The correlation, over pictures, of the mean colour in the upper left corner with that in the upper right: [-1, 1].

    Pictures (N, 3, H, W), N ≥ 2. A corner is a quarter of the width and of the height. Pictures with one background each are
    near 1, those whose parts know nothing of each other near 0.
    """
    check_pictures(pictures, "pictures")
    if len(pictures) < 2:
        raise ValueError(f"pictures: got {len(pictures)}; expected at least 2")
    height, width = pictures.shape[2] // 4, pictures.shape[3] // 4
    upper = pictures[:, :, :height]
    corners = [corner.mean((2, 3)) for corner in (upper[..., :width], upper[..., -width:])]
    left, right = ((colours - colours.mean(0)).flatten() for colours in corners)
    return float(F.cosine_similarity(left, right, dim=0))


def mean_correlation(z: Tensor) -> float:
    """The mean absolute correlation of two different numbers of vectors z (N, D), N and D ≥ 2: [0, 1].

    Not 0 for independent numbers, but about √(2 / πN), by chance.
    """
    if z.ndim != 2 or min(z.shape) < 2:
        raise ValueError(f"z: got {tuple(z.shape)}; expected (N, D) with N and D of 2 or more")
    return float(torch.corrcoef(z.T)[~torch.eye(z.shape[1], dtype=torch.bool, device=z.device)].abs().mean())


def neighbour_correlation(z: Tensor) -> float:
    """The mean absolute correlation of a number of grids z (N, C, h, w), N and w ≥ 2, and the one to its right: [0, 1]."""
    if z.ndim != 4 or min(len(z), z.shape[3]) < 2:
        raise ValueError(f"z: got {tuple(z.shape)}; expected (N, C, h, w) with N and w of 2 or more")
    z = (z - z.mean(0)) / z.std(0, unbiased=False)
    return float((z[..., :-1] * z[..., 1:]).mean(0).abs().mean())
