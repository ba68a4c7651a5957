"""Linear probes: what can be read off a vector by nothing but a weighted sum?

A probe is a logistic regression on frozen features. If it finds an attribute, a weighted sum is enough to read it off.
It does not say that anything makes use of the attribute, so compare with a control, such as an untrained network
(Alain & Bengio 2017, arXiv:1610.01644; Hewitt & Liang 2019, arXiv:1909.03368).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe: features are standardised with `mean` and `std` (D,), then weight (K, D) and bias (K,)."""

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Features (N, D) → (N, K)."""
        x = _features(features, "features")
        if x.shape[1] != len(self.mean):
            raise ValueError(f"features: got {x.shape[1]} numbers per row; expected {len(self.mean)}, as in training")
        return F.linear((x - self.mean) / self.std, self.weight, self.bias)

    def predict(self, features: Tensor) -> Tensor:
        """Features (N, D) → the likeliest class of each, (N,) int64."""
        return self.logits(features).argmax(1)


def fit_probe(features: Tensor, labels: Tensor, l2: float = 1e-3, iterations: int = 60) -> LinearProbe:
    """Logistic regression by L-BFGS: features (N, D), labels (N,) int64; rows with label -1 are left out.

    The loss is the mean cross-entropy plus ½ · l2 · ‖weight‖² on standardised features. Everything happens on the CPU.
    """
    x, y = _pair(features, labels, "features", "labels")
    if len(x) < 2:
        raise ValueError(f"labels: got {len(x)} labelled rows; expected two or more")
    mean, std = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - mean) / std
    classes = int(y.max()) + 1
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = F.cross_entropy(F.linear(x, weight, bias), y) + 0.5 * l2 * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(closure)
    return LinearProbe(mean, std, weight.detach(), bias.detach())


def linear_probe(
    features: Tensor,
    labels: Tensor,
    test_features: Tensor,
    test_labels: Tensor,
    l2: float = 1e-3,
    iterations: int = 60,
) -> float:
    """Test accuracy of a linear read-out: features (N, D), labels (N,), and other ones to test on.

    Rows whose label is -1 count neither in training nor in the test.
    """
    x, y = _pair(test_features, test_labels, "test_features", "test_labels")
    if not len(x):
        raise ValueError("test_labels: got no labelled row; expected one or more")
    probe = fit_probe(features, labels, l2, iterations)
    return float((probe.predict(x) == y).float().mean())


def _features(features: Tensor, name: str) -> Tensor:
    if not isinstance(features, Tensor) or features.ndim != 2 or not features.is_floating_point():
        came = f"{features.dtype} {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"{name}: got {came}; expected a float tensor (N, D)")
    return features.detach().float().cpu()


def _pair(features: Tensor, labels: Tensor, name: str, of: str) -> tuple[Tensor, Tensor]:
    """The labelled rows: features (M, D) and labels (M,)."""
    x = _features(features, name)
    if not isinstance(labels, Tensor) or labels.shape != (len(x),) or labels.is_floating_point():
        came = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"{of}: got {came}; expected an integer tensor ({len(x)},)")
    y = labels.detach().long().cpu()
    return x[y >= 0], y[y >= 0]
