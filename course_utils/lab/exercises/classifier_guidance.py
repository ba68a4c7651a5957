"""Classifier guidance: scores, the gradient of a classifier, and the two ways to guide with it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, exercise, hint_for, noise
from course_utils.lab.exercises.returns import Wrong


def _score_cases() -> list[Case]:
    """The derivative of torch's own log-density."""
    cases = [(torch.tensor([[3.0]]), torch.tensor([[1.0]]), 2.0, "with z = 3, mean = 1 and std = 2")]
    cases += [(noise(4, 2, seed=0), noise(4, 2, seed=1), std, f"at std = {std:g}") for std in (0.5, 1.7)]
    made = []
    for z, mean, std, words in cases:
        inside = z.clone().requires_grad_()
        (score,) = torch.autograd.grad(Normal(mean, std).log_prob(inside).sum(), inside)
        made.append(Case((z, mean, std), score, words))
    return made


@exercise(
    cases=_score_cases,
    mistakes=[
        Mistake(lambda z, m, s: (z - m) / s**2, "the sign: the log-density grows *towards* the mean."),
        Mistake(lambda z, m, s: (m - z) / s, "divide by the variance std², not by std."),
        Mistake(lambda z, m, s: m - z, "the variance is missing: a narrow Gaussian pulls harder."),
        Mistake(
            lambda z, m, s: -0.5 * (z - m) ** 2 / s**2,
            "this is the log-density itself, up to a constant; the score is its derivative by z.",
        ),
        Mistake(lambda z, m, s: (z - m) / s, "the sign is wrong, and the variance is std², not std."),
    ],
    hint="log N(z; mean, std²) = −(z − mean)² / (2 std²) + a constant. Take the derivative by z.",
)
def gaussian_score(z: Tensor, mean: Tensor, std: float) -> Tensor:
    """z and mean (B, D), and std > 0 → ∇_z log N(z; mean, std² I), (B, D)."""
    return (mean - z) / std**2


class _Toy(nn.Module):
    """A fixed classifier of points in the plane, with a bend, and a time that counts."""

    def __init__(self):
        super().__init__()
        self.register_buffer("a", noise(6, 2, seed=3).double())
        self.register_buffer("b", noise(3, 6, seed=4).double())

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(z @ self.a.T + t[:, None]) @ self.b.T * 2


def _differences(value: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """The gradient by z, by finite differences, of value(logits (B, K), y (B,)) → (B,)."""

    def gradient(classifier: nn.Module, z: Tensor, t: Tensor, y: Tensor, step: float = 1e-5) -> Tensor:
        ends = [[value(classifier(z + s * d, t), y) for s in (step, -step)] for d in torch.eye(z.shape[1]).to(z)]
        return torch.stack([(ahead - behind) / (2 * step) for ahead, behind in ends], dim=1)

    return gradient


def _picked(x: Tensor, y: Tensor) -> Tensor:
    return x[torch.arange(len(y)), y]


_log_p_gradient = _differences(lambda logits, y: _picked(logits.log_softmax(1), y))
_GRADIENT_MISTAKES = [
    Mistake(
        lambda c, z, t, y: -_log_p_gradient(c, z, t, y),
        "the sign: this is the gradient of the *loss*; guidance climbs log p, it does not descend.",
    ),
    Mistake(
        lambda c, z, t, y: _log_p_gradient(c, z, t, y) / len(z),
        "the mean over the batch was taken: each latent has its own gradient, so take the sum.",
    ),
    Mistake(
        lambda c, z, t, y: -_log_p_gradient(c, z, t, y) / len(z),
        "cross-entropy is −log p and a mean over the batch; here it is + log p, and the sum.",
    ),
    Mistake(
        _differences(_picked),
        "the logit is not log p: a logit may grow for all classes alike. Take log_softmax first.",
    ),
    Mistake(
        _differences(lambda logits, y: _picked(logits.softmax(1), y)),
        "this is the gradient of p; the score needs that of log p.",
    ),
    Mistake(
        _differences(lambda logits, y: logits.log_softmax(1).sum(1)),
        "all classes were summed: pick, in each row, the column y.",
    ),
]


def _check_class_gradient(attempt: Attempt) -> None:
    z, t = noise(5, 2, seed=5).double(), torch.linspace(0.1, 0.9, 5).double()
    inputs = _Toy(), z, t, torch.tensor([0, 2, 1, 1, 0])
    with torch.no_grad():  # This is how samplers call it.
        answer = attempt(*inputs)
    if answer.shape != z.shape:
        hint = "the gradient of one number per latent, by the latent, has the latent's shape."
        raise Wrong(f"expected shape {tuple(z.shape)}, got {tuple(answer.shape)}", hint)
    answer, expected = answer.detach().cpu().double(), _log_p_gradient(*inputs)

    def same(other: Tensor) -> bool:
        return torch.allclose(answer, other, atol=1e-5, rtol=1e-4)

    if not same(expected):
        raise Wrong(
            f"for a toy classifier: expected {expected[0].tolist()}, got {answer[0].tolist()} for the first point",
            hint_for(
                _GRADIENT_MISTAKES,
                lambda mistake: same(mistake.answer(*inputs)),
                "log_softmax over classes, pick column y of each row, sum, and differentiate by z.",
            ),
        )
    attempt(*inputs)  # The notebook's first call has gradients on, and nothing must hang on the answer.


@exercise(
    check=_check_class_gradient,
    mistakes=_GRADIENT_MISTAKES,
    on_error={
        "does not require grad": "samplers run under torch.no_grad(): open `with torch.enable_grad():` and take "
        "z.detach().requires_grad_() inside.",
        "grad can be implicitly created only for scalar": "autograd wants one number: sum over the batch.",
        "not have been used in the graph": "differentiate by the very z that went into the classifier.",
        "on the same device": "y may lie on the CPU: y.to(z.device).",
        "on one device": "y may lie on the CPU: y.to(z.device).",
    },
    on_cpu=("y",),
)
def class_gradient(classifier: Callable, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """classifier(z, t) → logits (B, K). With z (B, ...), t (B,), classes y (B,) → ∇_z log p(y | z, t), (B, ...)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        chosen = _picked(classifier(z, t).log_softmax(1), y)
        return torch.autograd.grad(chosen.sum(), z)[0]


def _guided_mean_cases() -> list[Case]:
    """Where it is exact: a Gaussian N(mean, std²) times exp(w · gradient · z) is a Gaussian around the answer.

    Its mean is found here by summing over a fine grid, without the formula.
    """
    grid, cases = torch.linspace(-40, 40, 400_001, dtype=torch.float64), []
    # The notebook has std as a tensor, of a path's posterior.
    for mean, std, shape, gradient, w in (
        (1.0, 2.0, None, 0.5, 3.0),
        (-0.5, 0.7, (1, 1), 1.2, 1.0),
        (0.3, 1.1, (1, 1), -0.8, 4.0),
        (2.0, 0.6, (), 1.0, 0.0),
    ):
        weight = torch.softmax(-((grid - mean) ** 2) / (2 * std**2) + w * gradient * grid, dim=0)
        given = std if shape is None else torch.tensor(std).view(shape)
        inputs = torch.tensor([[mean]]), given, torch.tensor([[gradient]]), w
        words = f"with mean = {mean:g}, std = {std:g}, gradient = {gradient:g} and w = {w:g}"
        cases.append(Case(inputs, torch.tensor([[float((weight * grid).sum())]]), words))
    return cases


@exercise(
    cases=_guided_mean_cases,
    mistakes=[
        Mistake(lambda m, s, g, w: m + w * s * g, "Σ is the *variance*: std², not std."),
        Mistake(
            lambda m, s, g, w: m - w * s**2 * g,
            "the sign: climb log p(y | z_t), walk along its gradient.",
        ),
        Mistake(lambda m, s, g, w: m + w * g, "Σ is missing: a step with little noise may move only a little."),
        Mistake(lambda m, s, g, w: m + s**2 * g + 0 * w, "w is missing."),
        Mistake(lambda m, s, g, w: w * s**2 * g, "the mean is missing: the push is added to it."),
    ],
    hint="μ + w Σ g, with Σ = std².",
    on_error={"must be Number": "the notebook has std as a tensor: multiply with *, without alpha=."},
    on_cpu=(),
)
def guided_mean(mean: Tensor, std: float, gradient: Tensor, w: float) -> Tensor:
    """A step's mean (B, ...) and std ≥ 0, the gradient (B, ...) of log p(y | z_t), scale w → the shifted mean (B, ...).

    Dhariwal and Nichol 2021, algorithm 1.
    """
    return mean + w * std**2 * gradient


def _guided_eps_cases() -> list[Case]:
    """Through scores: score = −ε / σ, plus w times the gradient, and back to ε."""
    cases = []
    told = torch.full((1, 2), 1.0), torch.full((1, 2), 0.5)
    for eps, gradient, sigma, w, words in (
        (*told, 0.8, 2.0, "with ε = 1, gradient = 0.5, σ = 0.8 and w = 2"),
        (noise(3, 4, seed=6), noise(3, 4, seed=7), 0.3, 5.0, "at σ = 0.3 and w = 5"),
        (noise(3, 4, seed=8), noise(3, 4, seed=9), 0.9, 0.0, "at w = 0"),
    ):
        score = -(eps.double() / sigma)
        guided = score + w * gradient.double()
        given = torch.tensor([sigma]) if w > 2 else sigma  # the notebook has it as a tensor
        cases.append(Case((eps, given, gradient, w), (guided * -sigma).float(), words))
    return cases


@exercise(
    cases=_guided_eps_cases,
    mistakes=[
        Mistake(lambda e, s, g, w: e + w * s * g, "the sign: score = −ε / σ, so more score is *less* ε."),
        Mistake(lambda e, s, g, w: e - w * g, "σ_t is missing: score = −ε / σ, so ε = −σ · score."),
        Mistake(lambda e, s, g, w: e - w * g / s, "σ_t multiplies: ε = −σ · score."),
        Mistake(lambda e, s, g, w: e - w * s**2 * g, "σ_t once: σ² belongs to the guided mean's Σ."),
        Mistake(lambda e, s, g, w: e - s * g + 0 * w, "w is missing."),
    ],
    hint="write the guided score −ε̃ / σ = −ε / σ + w · gradient and solve for ε̃.",
    on_error={"must be Number": "the notebook has sigma as a tensor: multiply with *, without alpha=."},
    on_cpu=(),
)
def guided_eps(eps: Tensor, sigma: float, gradient: Tensor, w: float) -> Tensor:
    """eps (B, ...), sigma > 0, the gradient (B, ...) of log p(y | z_t), scale w → the guided noise (B, ...).

    Dhariwal and Nichol 2021, algorithm 2.
    """
    return eps - w * sigma * gradient
