"""A labelled Gaussian mixture, of which everything is known: the ground truth for guidance.

Noise turns each Gaussian into another one, z_t ~ N(α m, α² C + σ² I), so density, score, class posterior and
its gradient have closed forms at every t of every path, and samplers and guidance can be held against them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from course_utils.arguments import number, whole
from course_utils.diffusion.guidance import checked_scale
from course_utils.diffusion.paths import Path, Prediction, over
from course_utils.diffusion.samplers import Model

MOST_DRAWS = 10_000_000


@dataclass(frozen=True)
class _Parts:
    """What each component says of z_t: `log` (B, K) its log weight and density, `score`, `z0` (B, K, D)."""

    log: Tensor
    score: Tensor
    z0: Tensor


class LabelledMixture:
    """p(z0, y) = Σ_k weight_k N(z0; mean_k, covariance_k) [y = label_k], seen through a path's noise.

    means (K, D), covariances (K, D, D), weights (K,) that are normalised here, labels (K,) int64, of which
    each of 0, 1, ... occurs. Methods take z (B, D), t (B,) or (), and y: None for the whole mixture, one
    class, or a tensor (B,) with a class for each row, -1 for none. Computed in float64 on the CPU (Apple's GPUs
    have no float64), returned in z's type and on its device.
    """

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor, labels: Tensor, path: Path):
        means, covariances, weights = (torch.as_tensor(x).cpu().double() for x in (means, covariances, weights))
        labels = torch.as_tensor(labels).cpu()
        if means.ndim != 2 or not len(means):
            raise ValueError(f"means has shape {tuple(means.shape)}; expected (K, D) with K of 1 or more")
        k, d = means.shape
        if covariances.shape != (k, d, d):
            raise ValueError(f"covariances has shape {tuple(covariances.shape)}; expected {(k, d, d)}")
        if not all(bool(x.isfinite().all()) for x in (means, covariances)):
            raise ValueError("means and covariances: expected finite numbers, got NaN or infinity")
        if weights.shape != (k,) or not bool((weights.isfinite() & (weights > 0)).all()):
            raise ValueError(f"weights is {weights.tolist()}; expected {k} finite numbers above 0")
        if labels.shape != (k,) or labels.unique().tolist() != list(range(int(labels.max()) + 1)):
            raise ValueError(f"labels is {labels.tolist()}; expected {k} of the numbers 0, 1, ..., none left out")
        self.spread, self.axes = torch.linalg.eigh(covariances)  # (K, D), (K, D, D): C = axes spread axesᵀ
        if not torch.allclose(covariances, covariances.mT) or self.spread.min() <= 0:
            raise ValueError("covariances: expected symmetric, positive definite matrices")
        self.means, self.covariances, self.labels, self.path = means, covariances, labels.long(), path
        self.weights = weights / weights.sum()

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.labels.max()) + 1

    def blurred(self, by: float) -> LabelledMixture:
        """The same mixture under Gaussian blur of standard deviation `by`: what a weaker model has learnt.

        Karras et al. 2024 (autoguidance), §3: a model of less capacity or training spreads its density wider.
        """
        by = number("by", by, 0)
        wider = self.covariances + by**2 * torch.eye(self.means.shape[1], dtype=torch.float64)
        return LabelledMixture(self.means, wider, self.weights, self.labels, self.path)

    def log_density(self, z: Tensor, t: Tensor, y: int | Tensor | None = None) -> Tensor:
        """log p_t(z), or log p_t(z | y): (B,)."""
        y = self._checked_labels(y, len(z))
        share = torch.where(self._allowed(y), self.weights, 0.0).sum(1)
        return (self._parts(z, t, y).log.logsumexp(1) - share.log()).to(z)

    def score(self, z: Tensor, t: Tensor, y: int | Tensor | None = None) -> Tensor:
        """∇ log p_t(z), or ∇ log p_t(z | y): (B, D). The components' scores, each by its responsibility."""
        parts = self._parts(z, t, self._checked_labels(y, len(z)))
        return (parts.log.softmax(1)[..., None] * parts.score).sum(1).to(z)

    def z0(self, z: Tensor, t: Tensor, y: int | Tensor | None = None) -> Tensor:
        """E[z0 | z_t, y], (B, D): what a perfect denoiser answers. Finite at both ends of every path."""
        parts = self._parts(z, t, self._checked_labels(y, len(z)))
        return (parts.log.softmax(1)[..., None] * parts.z0).sum(1).to(z)

    def class_log_posterior(self, z: Tensor, t: Tensor) -> Tensor:
        """log p(y | z_t) for each class: (B, classes), what a perfect noisy classifier answers."""
        log = self._parts(z, t, self._checked_labels(None, len(z))).log
        each = [log[:, self.labels == y].logsumexp(1) for y in range(self.classes)]
        return (torch.stack(each, 1) - log.logsumexp(1, keepdim=True)).to(z)

    def class_gradient(self, z: Tensor, t: Tensor, y: int | Tensor) -> Tensor:
        """∇_z log p(y | z_t) in closed form, (B, D): each component's score by how much y raises its share."""
        labels = self._checked_labels(y, len(z))
        parts = self._parts(z, t, self._checked_labels(None, len(z)))
        before = parts.log.softmax(1)
        after = torch.where(self._allowed(labels), parts.log, -torch.inf).softmax(1)
        return ((after - before)[..., None] * parts.score).sum(1).to(z)

    def guided_score(self, z: Tensor, t: Tensor, y: int | Tensor, guidance_scale: float | Tensor) -> Tensor:
        """∇ log p_t(z) + w ∇ log p(y | z_t), (B, D): where classifier guidance and CFG agree exactly."""
        w = over(checked_scale(guidance_scale, len(z)).to(z), z)
        return self.score(z, t) + w * self.class_gradient(z, t, y)

    def model(self, y: int | Tensor | None = None, guidance_scale: float | Tensor = 1.0) -> Model:
        """The perfect model for the samplers; with w other than 1, guided towards y."""

        def predict(z: Tensor, t: Tensor) -> Prediction:
            w = over(checked_scale(guidance_scale, len(z)).to(z), z)
            if bool((w == 1).all()):
                return self.path.from_z0(self.z0(z, t, y), z, t)
            free = self.z0(z, t)  # scores of one z and t mix like their z0, which is finite at the ends too
            return self.path.from_z0(free + w * (self.z0(z, t, y) - free), z, t)

        return predict

    def sample(self, n: int, y: int | None = None, generator: torch.Generator | None = None) -> Tensor:
        """n draws of z0 (n, D) float32, of the whole mixture or of class y."""
        n = whole("n", n, 1, MOST_DRAWS)
        allowed = self._allowed(self._checked_labels(y, 1))[0]
        k = torch.multinomial(self.weights * allowed, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.means.shape[1], dtype=torch.float64, generator=generator)
        offset = (self.axes[k] @ (self.spread[k].sqrt() * noise)[..., None])[..., 0]
        return (self.means[k] + offset).float()

    def tilted_sample(self, n: int, y: int, guidance_scale: float, generator: torch.Generator | None = None) -> Tensor:
        """n exact draws (n, D) of p(z) p(y | z)^w, normalised, by rejection.

        It is proportional to p(z | y) p(y | z)^(w − 1): draw of class y, keep with probability
        p(y | z)^(w − 1). Below w = 1, where that exceeds 1, draw of all and keep with p(y | z)^w.
        """
        n = whole("n", n, 1, MOST_DRAWS)
        w = number("guidance_scale", float(checked_scale(number("guidance_scale", guidance_scale))))
        if w < 0:  # p(y | z)^w has no bound, and rejection needs one
            raise ValueError(f"guidance_scale is {w}; expected 0 or more")
        self._checked_labels(y, 1)
        kept, found, tried = [], 0, 0
        while found < n:
            z = self.sample(4 * n, y if w >= 1 else None, generator)
            log_keep = (w - 1 if w >= 1 else w) * self.class_log_posterior(z, torch.zeros(()))[:, y]
            z = z[torch.rand(len(z), generator=generator).log() < log_keep]
            kept.append(z)
            found, tried = found + len(z), tried + 4 * n
            if tried > 1000 * n and found < n:
                raise ValueError(f"guidance_scale is {w}; fewer than one draw in 1000 is kept, expected less")
        return torch.cat(kept)[:n]

    def _parts(self, z: Tensor, t: Tensor, y: Tensor) -> _Parts:
        """Each component at z (B, D), t (B,) or (); those that y (B,) rules out have log weight −∞."""
        if not isinstance(z, Tensor) or z.ndim != 2 or z.shape[1] != self.means.shape[1]:
            raise ValueError(f"z has shape {tuple(getattr(z, 'shape', ()))}; expected (B, {self.means.shape[1]})")
        t = torch.as_tensor(t).cpu().double()
        if t.shape not in ((), (len(z),)):
            raise ValueError(f"t has shape {tuple(t.shape)}; expected () or ({len(z)},)")
        if not bool(((t >= 0) & (t <= 1)).all()):
            raise ValueError(f"t is {t.tolist()}; expected times in [0, 1]")
        alpha, sigma = (x.reshape(-1, 1, 1) for x in (self.path.alpha(t), self.path.sigma(t)))
        variance = alpha**2 * self.spread + sigma**2  # (B or 1, K, D) along each component's axes
        away = z.cpu().double()[:, None] - alpha * self.means  # (B, K, D)
        along = torch.einsum("bkd,kde->bke", away, self.axes)
        log = -0.5 * (along**2 / variance + (2 * math.pi * variance).log()).sum(2) + self.weights.log()
        back = torch.einsum("bke,kde->bkd", along / variance, self.axes)  # (α² C + σ² I)⁻¹ away
        z0 = self.means + alpha * torch.einsum("bkd,kde->bke", back, self.covariances)
        return _Parts(torch.where(self._allowed(y), log, -torch.inf), -back, z0)

    def _allowed(self, y: Tensor) -> Tensor:
        """Which components are of class y (B,), all of them for -1: (B, K)."""
        return (y[:, None] < 0) | (y[:, None] == self.labels)

    def _checked_labels(self, y: int | Tensor | None, batch: int) -> Tensor:
        labels = torch.as_tensor(-1 if y is None else y).cpu()
        if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape not in ((), (batch,)):
            raise ValueError(f"y is {y!r}; expected a class, or whole numbers of shape ({batch},)")
        if labels.numel() and (labels.min() < -1 or labels.max() >= self.classes):
            raise ValueError(f"y is {y!r}; expected classes from 0 to {self.classes - 1}, or -1 for none")
        return labels.long().expand(batch)


class MixtureDenoiser:
    """The perfect network: (z (B, D), t (B,), cond (B, classes)) -> velocity (B, D), for the guidance objects.

    A condition is a one-hot row, `null` the row of zeros.
    """

    def __init__(self, mixture: LabelledMixture):
        self.mixture, self.null = mixture, torch.zeros(mixture.classes)

    def condition(self, y: int, n: int) -> Tensor:
        """Class y for n rows: (n, classes)."""
        return torch.eye(self.mixture.classes)[self.mixture._checked_labels(y, n)]

    def __call__(self, z: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        if cond.shape != (len(z), self.mixture.classes):
            expected = (len(z), self.mixture.classes)
            raise ValueError(f"cond has shape {tuple(cond.shape)}; expected {expected}")
        y = torch.where(cond.sum(1) > 0, cond.argmax(1), -1)
        exact, at = z.cpu().double(), t.cpu().double()
        return self.mixture.path.from_z0(self.mixture.z0(exact, at, y), exact, at).velocity.to(z)


def three_petals(path: Path) -> LabelledMixture:
    """The course's picture in 2-D: three classes of two long Gaussians each, overlapping in the middle."""
    turn = torch.tensor([0, 1, 2, 0, 1, 2]) * 2 * math.pi / 3 + torch.tensor([0.0] * 3 + [0.5] * 3)
    out = torch.stack([turn.cos(), turn.sin()], 1).double()  # (6, 2) unit vectors
    across = torch.stack([-out[:, 1], out[:, 0]], 1)
    covariances = 0.45**2 * out[:, :, None] * out[:, None] + 0.18**2 * across[:, :, None] * across[:, None]
    return LabelledMixture(0.8 * out, covariances, torch.ones(6), torch.tensor([0, 1, 2, 0, 1, 2]), path)
