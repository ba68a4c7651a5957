"""The kernel distance between two sets of pictures (KID), its interval, and what it is for real against real.

A Fréchet distance fits Gaussians, and from few pictures it is far above 0 for two sets of the same kind. The kernel
distance is unbiased: whatever the sizes of the sets, its mean over many draws is the true distance.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils import runtime
from course_utils.arguments import whole
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.intervals import Z
from course_utils.images import to_float


class StandardFeatures:
    """A network's features of pictures, each with mean 0 and deviation 1 over `reference`, real pictures (N, 3, H, W).

    `network(x) -> (B, F)`, such as `judge.features`. Without this the kernel, which sees x·y, would hear little but
    the loudest features and how far all of them lie from 0. The distance is exactly unbiased only if the
    reference is of pictures that it then is not taken to.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], reference: Tensor):
        self.network = network
        raw = in_chunks(network, reference).double()
        _checked(raw, "reference: features")
        self.mean, std = raw.mean(0), raw.std(0)
        self.std = torch.where(std > 0, std, 1.0)  # what never varies says nothing

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, H, W) in [-1, 1] → (N, F) float64 on the CPU."""
        return (in_chunks(self.network, pictures).double() - self.mean) / self.std


def yardstick(network: Callable[[Tensor], Tensor], n: int, side: int = 128) -> tuple[StandardFeatures, Tensor]:
    """What generated pictures are measured with: `StandardFeatures`, and those of n real pictures, (n, F).

    All are of the validation split, which nothing is drawn for: n that set the standard, n others to measure to.
    """
    real, reference = (to_float(Plushies(n, "val", side, seed=seed).in_memory().pictures) for seed in (0, 1))
    features = StandardFeatures(network, reference)
    return features, features(real)


def _checked(features: Tensor, name: str, least: int = 2) -> Tensor:
    """Finite features (N, F) with N ≥ least as float64 on the CPU, or a ValueError."""
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) < least or not features.shape[1]:
        came = tuple(getattr(features, "shape", ()))
        raise ValueError(f"{name}: got {came}; expected shape (N, F) with N ≥ {least}")
    f = features.detach().cpu().double()  # on the CPU first: not every device has float64
    if not bool(f.isfinite().all()):
        raise ValueError(f"{name}: got NaN or infinity; expected finite features")
    return f


def _pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    a, b = _checked(a, "feats_a", least), _checked(b, "feats_b", least)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"feats_b: got {b.shape[1]} features per row; expected {a.shape[1]}, as in feats_a")
    return a, b


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _without_self(x: Tensor) -> Tensor:
    """The kernel of a set with itself, (N, N), 0 where a picture meets itself."""
    return _kernel(x, x).fill_diagonal_(0.0)


def kernel_distance(feats_a: Tensor, feats_b: Tensor) -> float:
    """KID of features (N, F) and (M, F): the unbiased *squared* maximum mean discrepancy under (x·y/F + 1)³.

    Mean kernel of two different rows of a, plus that of b, less twice that of a row of a and one of b (Bińkowski
    et al. 2018, arXiv:1801.01401, §4; Gretton et al. 2012, eq. 3). Being unbiased, it falls below 0 about as often as
    above for two sets of the same kind. The sets must be drawn independently: reconstructions are nearer to the very
    pictures they are of than to others, so compare them with others. It compares means, variances and skews of the features
    together. With the judge's features this is not the KID of papers: compare such numbers only with each other.
    """
    a, b = _pair(feats_a, feats_b, 2)
    return _distance(_without_self(a), _without_self(b), _kernel(a, b))


def _distance(own_a: Tensor, own_b: Tensor, cross: Tensor) -> float:
    n, m = cross.shape
    within = own_a.sum() / (n * (n - 1)) + own_b.sum() / (m * (m - 1))
    return float(within - 2 * cross.mean())


def kernel_interval(feats_a: Tensor, feats_b: Tensor) -> tuple[float, float]:
    """About 95 % of such intervals hold the true distance: 1.96 jackknife errors on either side of `kernel_distance`.

    Both sets count as samples, N, M ≥ 3. The jackknife asks how the distance changes when a single picture is left out
    (Efron & Stein 1981). From few pictures it is too sure of large distances: 87 % of the intervals held the truth for one
    Gaussian feature and 80 to 120 pictures, 92 % for 300 to 500.
    """
    a, b = _pair(feats_a, feats_b, 3)
    own_a, own_b, cross = _without_self(a), _without_self(b), _kernel(a, b)
    variance = _jackknife(own_a, cross) + _jackknife(own_b, cross.T)
    value, half = _distance(own_a, own_b, cross), Z * float(variance.sqrt())
    return value - half, value + half


def _jackknife(own: Tensor, cross: Tensor) -> Tensor:
    """The part of the distance's variance that comes from one set: own kernel (N, N), with the other set (N, M)."""
    n, m = cross.shape
    without = (own.sum() - 2 * own.sum(1)) / ((n - 1) * (n - 2)) - 2 * (cross.sum() - cross.sum(1)) / ((n - 1) * m)
    return (without - without.mean()).square().sum() * (n - 1) / n


def real_against_real(features: Tensor, n: int, m: int, draws: int = 50, seed: int = 0) -> Tensor:
    """Distances (draws,) between n and m different real pictures out of `features` (N, F), N ≥ n + m.

    What a distance of generated pictures is read against: sets as large, with no difference but chance. The draws
    share pictures, so with N near n + m they vary less than new pictures would.
    """
    f, n, m, draws = _checked(features, "features"), whole("n", n, 2), whole("m", m, 2), whole("draws", draws, 1)
    if n + m > len(f):
        raise ValueError(f"features: got {len(f)} pictures; expected {n + m} or more, n + m")
    g = runtime.generator(seed)
    orders = torch.stack([torch.randperm(len(f), generator=g) for _ in range(draws)])
    # Which pictures each draw takes, as rows of 0 and 1: then the kernel, which all draws share, is computed once.
    a, b = (
        torch.zeros(draws, len(f), dtype=torch.float64).scatter_(1, i, 1.0) for i in orders[:, : n + m].split((n, m), 1)
    )
    own = _without_self(f)
    within = ((a @ own) * a).sum(1) / (n * (n - 1)) + ((b @ own) * b).sum(1) / (m * (m - 1))
    return within - 2 * ((a @ own) * b).sum(1) / (n * m)


def chance_band(features: Tensor, n: int, m: int, draws: int = 50) -> tuple[float, float]:
    """Where 95 % of the distances of `real_against_real` lie."""
    low, high = real_against_real(features, n, m, draws).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return low, high
