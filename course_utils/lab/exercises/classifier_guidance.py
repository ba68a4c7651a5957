"""The exercises of notebook 06, classifier guidance. See `exercises` for how a check works."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from course_utils.lab.exercises.checking import Attempt, Case, Exercise, Mistake, Wrong, formula


def _noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- the score of a Gaussian ----


def _gaussian_score(z: Tensor, mean: Tensor, std: float) -> Tensor:
    return (mean - z) / std**2


def _score_cases() -> list[Case]:
    """The derivative of torch's own log-density."""
    cases = [(torch.tensor([[3.0]]), torch.tensor([[1.0]]), 2.0, "with z = 3, mean = 1 and std = 2")]
    cases += [(_noise(4, 2, seed=0), _noise(4, 2, seed=1), std, f"at std = {std:g}") for std in (0.5, 1.7)]
    made = []
    for z, mean, std, words in cases:
        inside = z.clone().requires_grad_()
        Normal(mean, std).log_prob(inside).sum().backward()
        made.append(Case((z, mean, std), inside.grad, words))
    return made


gaussian_score = Exercise(
    name="gaussian_score",
    course=_gaussian_score,
    check=formula(
        _score_cases(),
        [
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
    ),
)


# ---- ∇ log p(y | z_t) of a classifier ----


def _class_gradient(classifier, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        chosen = classifier(z, t).log_softmax(1)[torch.arange(len(y)), y]
        return torch.autograd.grad(chosen.sum(), z)[0]


class _Toy(nn.Module):
    """A fixed classifier of points in the plane, with a bend, and a time that counts."""

    def __init__(self):
        super().__init__()
        self.a, self.b = _noise(6, 2, seed=3).double(), _noise(3, 6, seed=4).double()

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(z @ self.a.T + t[:, None]) @ self.b.T * 2


def _finite_differences(z: Tensor, value, step: float = 1e-5) -> Tensor:
    columns = []
    for i in range(z.shape[1]):
        d = torch.zeros_like(z)
        d[:, i] = step
        columns.append((value(z + d) - value(z - d)) / (2 * step))
    return torch.stack(columns, dim=1)


def _check_class_gradient(attempt: Attempt) -> None:
    toy, z, t = _Toy(), _noise(5, 2, seed=5).double(), torch.linspace(0.1, 0.9, 5).double()
    y, rows = torch.tensor([0, 2, 1, 1, 0]), torch.arange(5)

    def log_p(x: Tensor) -> Tensor:
        return toy(x, t).log_softmax(1)[rows, y]

    expected = _finite_differences(z, log_p)
    with torch.no_grad():  # which is how samplers call it
        answer = attempt(toy, z, t, y)
    if not isinstance(answer, Tensor):
        raise Wrong(f"expected a tensor of shape {tuple(z.shape)}, got {type(answer).__name__}")
    if answer.shape != z.shape:
        hint = "the gradient of one number a latent, by the latent, has the latent's shape."
        raise Wrong(f"expected shape {tuple(z.shape)}, got {tuple(answer.shape)}", hint)
    answer = answer.detach().double()

    def same(other: Tensor) -> bool:
        return torch.allclose(answer, other, atol=1e-5, rtol=1e-4)

    if same(expected):
        return
    what = f"for a toy classifier: expected {expected[0].tolist()}, got {answer[0].tolist()} for the first point"
    for wrong, hint in (
        (
            -expected,
            "the sign: this is the gradient of the *loss*; guidance climbs log p, it does not descend.",
        ),
        (
            expected / len(z),
            "the mean over the batch was taken: each latent has its own gradient, so take the sum.",
        ),
        (
            -expected / len(z),
            "cross-entropy is −log p and a mean over the batch; here it is + log p, and the sum.",
        ),
        (
            _finite_differences(z, lambda x: toy(x, t)[rows, y]),
            "the logit is not log p: a logit may grow for all classes alike. Take log_softmax first.",
        ),
        (
            _finite_differences(z, lambda x: log_p(x).exp()),
            "this is the gradient of p; the score needs that of log p.",
        ),
        (
            _finite_differences(z, lambda x: toy(x, t).log_softmax(1).sum(1)),
            "all classes were summed: pick, in each row, the column y.",
        ),
    ):
        if same(wrong):
            raise Wrong(what, hint)
    raise Wrong(what, "log_softmax over classes, pick column y of each row, sum, and differentiate by z.")


class_gradient = Exercise(
    name="class_gradient",
    course=_class_gradient,
    check=_check_class_gradient,
    on_error={
        "does not require grad": "samplers run under torch.no_grad(): open `with torch.enable_grad():` and take "
        "z.detach().requires_grad_() inside.",
        "grad can be implicitly created only for scalar": "autograd wants one number: sum over the batch.",
        "not have been used in the graph": "differentiate by the very z that went into the classifier.",
    },
)


# ---- the guided mean ----


def _guided_mean(mean: Tensor, std: float, gradient: Tensor, w: float) -> Tensor:
    return mean + w * std**2 * gradient


def _guided_mean_cases() -> list[Case]:
    """Where it is exact: a Gaussian N(mean, std²) times exp(w · gradient · z) is a Gaussian around the answer.

    Its mean is found here by summing over a fine grid, without the formula.
    """
    grid, cases = torch.linspace(-40, 40, 400_001, dtype=torch.float64), []
    for mean, std, gradient, w in (
        (1.0, 2.0, 0.5, 3.0),
        (-0.5, 0.7, 1.2, 1.0),
        (0.3, 1.1, -0.8, 4.0),
        (2.0, 0.6, 1.0, 0.0),
    ):
        weight = torch.softmax(-((grid - mean) ** 2) / (2 * std**2) + w * gradient * grid, dim=0)
        inputs = torch.tensor([[mean]]), std, torch.tensor([[gradient]]), w
        words = f"with mean = {mean:g}, std = {std:g}, gradient = {gradient:g} and w = {w:g}"
        cases.append(Case(inputs, torch.tensor([[float((weight * grid).sum())]]), words))
    return cases


guided_mean = Exercise(
    name="guided_mean",
    course=_guided_mean,
    check=formula(
        _guided_mean_cases(),
        [
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
        tolerance=1e-4,
    ),
)


# ---- the ε form ----


def _guided_eps(eps: Tensor, sigma: float, gradient: Tensor, w: float) -> Tensor:
    return eps - w * sigma * gradient


def _guided_eps_cases() -> list[Case]:
    """Through scores: score = −ε / σ, plus w times the gradient, and back to ε."""
    cases = []
    told = torch.full((1, 2), 1.0), torch.full((1, 2), 0.5)
    for eps, gradient, sigma, w, words in (
        (*told, 0.8, 2.0, "with ε = 1, gradient = 0.5, σ = 0.8 and w = 2"),
        (_noise(3, 4, seed=6), _noise(3, 4, seed=7), 0.3, 5.0, "at σ = 0.3 and w = 5"),
        (_noise(3, 4, seed=8), _noise(3, 4, seed=9), 0.9, 0.0, "at w = 0"),
    ):
        score = -(eps.double() / sigma)
        guided = score + w * gradient.double()
        cases.append(Case((eps, sigma, gradient, w), (guided * -sigma).float(), words))
    return cases


guided_eps = Exercise(
    name="guided_eps",
    course=_guided_eps,
    check=formula(
        _guided_eps_cases(),
        [
            Mistake(lambda e, s, g, w: e + w * s * g, "the sign: score = −ε / σ, so more score is *less* ε."),
            Mistake(lambda e, s, g, w: e - w * g, "σ_t is missing: score = −ε / σ, so ε = −σ · score."),
            Mistake(lambda e, s, g, w: e - w * g / s, "σ_t multiplies: ε = −σ · score."),
            Mistake(lambda e, s, g, w: e - w * s**2 * g, "σ_t once: σ² belongs to the guided mean's Σ."),
            Mistake(lambda e, s, g, w: e - s * g + 0 * w, "w is missing."),
        ],
        hint="write the guided score −ε̃ / σ = −ε / σ + w · gradient and solve for ε̃.",
    ),
)
