"""Classifier guidance: the gradient of a classifier, the two ways to guide with it, and what DDPM adds to DDIM."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from course_utils.diffusion.paths import Cosine, Path, VariancePreserving
from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, exercise, hint_for, noise
from course_utils.lab.exercises.returns import Wrong


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


def _tilted_draw(path: Path, z: float, z0: float, gradient: float, t: float, s: float, w: float, noise: float) -> float:
    """A draw of q(z_s | z_t, z0) · exp(w · gradient · z_s), found on a fine grid without the formulas.

    By Bayes' rule q(z_s | z_t, z0) is the noised data at s times the noise that the path adds from s to t.
    """
    alpha_s, sigma_s, alpha_t, sigma_t = (
        float(f(torch.tensor(x, dtype=torch.float64))) for x in (s, t) for f in (path.alpha, path.sigma)
    )
    ratio, grid = alpha_t / alpha_s, torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    added = sigma_t**2 - (ratio * sigma_s) ** 2
    log = -((grid - alpha_s * z0) ** 2) / (2 * sigma_s**2) - (z - ratio * grid) ** 2 / (2 * added)
    weight = torch.softmax(log + w * gradient * grid, dim=0)
    mean = float((weight * grid).sum())
    return mean + float((weight * (grid - mean) ** 2).sum()) ** 0.5 * noise


def _guided_step_cases() -> list[Case]:
    """A Gaussian times the exponential of a straight line is again a Gaussian: its mean and width come from a grid."""
    cases = []
    for path, (z, z0, gradient, t, s, w, fresh) in (
        (VariancePreserving(), (0.5, 1.0, 0.8, 0.5, 0.4, 2.0, 0.7)),
        (VariancePreserving(), (-1.2, -0.3, -1.5, 0.3, 0.2, 4.0, -1.1)),
        (Cosine(), (0.9, 0.4, 1.1, 0.8, 0.5, 1.0, 0.6)),
        (Cosine(), (0.9, 0.4, 1.1, 0.8, 0.5, 0.0, 0.6)),
    ):
        told = [torch.full((1, 2), x) for x in (z, z0, gradient, fresh)]
        inputs = path, *told[:3], torch.tensor(t), torch.tensor(s), w, told[3]
        words = f"from t = {t:g} to {s:g} with z = {z:g}, ẑ₀ = {z0:g}, gradient = {gradient:g} and w = {w:g}"
        expected = torch.full((1, 2), _tilted_draw(path, z, z0, gradient, t, s, w, fresh))
        cases.append(Case(inputs, expected, words))
    drawn = [noise(2, 3, seed=k) for k in range(12, 16)]
    last = VariancePreserving(), *drawn[:3], torch.tensor(0.02), torch.tensor(0.0), 5.0, drawn[3]
    return [*cases, Case(last, drawn[1], "in the last step, to s = 0, where Σ is 0")]


def _stepped(change: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A mistake: change(mean, std, z, gradient, w, noise) in the place of the guided step."""

    def answer(path, z, z0, gradient, t, s, w, noise):
        return change(*path.posterior(z, z0, t, s), z, gradient, w, noise)

    return answer


@exercise(
    cases=_guided_step_cases,
    mistakes=[
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m + w * std * g + std * n),
            "completing the square gives Σ, the *variance*, in front of the gradient: the square of std.",
        ),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m - w * std**2 * g + std * n),
            "the sign: p(y | z_s) is to grow, so walk along its gradient.",
        ),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m + w * g + std * n),
            "Σ is missing in front of the gradient: a narrow Gaussian can be moved only a little.",
        ),
        Mistake(_stepped(lambda m, std, z, g, w, n: m + std**2 * g + std * n + 0 * w), "w is missing."),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m + w * std**2 * g),
            "the noise is missing: this is the mean of the step, and DDPM draws around it.",
        ),
        Mistake(_stepped(lambda m, std, z, g, w, n: m + w * std**2 * g + n), "the noise has to be multiplied by std."),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m + w * std**2 * g + std**2 * n),
            "the noise is multiplied by std, not by the variance.",
        ),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: z + w * std**2 * g + std * n),
            "start from the mean of the step, not from z_t.",
        ),
        Mistake(
            _stepped(lambda m, std, z, g, w, n: m + std * n + 0 * w * g),
            "this is the step without guidance: the gradient is missing.",
        ),
    ],
    hint="mean, std = path.posterior(z, z0, t, s); move the mean by what completing the square gives, and draw.",
    on_error={"must be Number": "the notebook has std as a tensor: multiply with *, without alpha=."},
    on_cpu=("path",),
)
def guided_step(
    path: Path, z: Tensor, z0: Tensor, gradient: Tensor, t: Tensor, s: Tensor, w: float, noise: Tensor
) -> Tensor:
    """z_t, the guess ẑ₀, the gradient of log p(y | z), noise (B, ...), times t > s (), scale w → z_s (B, ...).

    Dhariwal and Nichol 2021, algorithm 1.
    """
    mean, std = path.posterior(z, z0, t, s)
    return mean + w * std**2 * gradient + std * noise


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


def _corrector_cases() -> list[Case]:
    """By autograd: the score of p(z)^(1 − w′) p(z | y)^w′ of two Gaussians, with w′ = 2w − 1."""
    cases = []
    for w in (1.0, 2.5, 4.0):
        z = noise(3, 2, seed=17).double().requires_grad_()
        wide, narrow = Normal(0.0, 2.0).log_prob(z).sum(), Normal(1.0, 0.8).log_prob(z).sum()
        scores = [torch.autograd.grad(x, z, retain_graph=True)[0].float() for x in (wide, narrow)]
        tilted = wide + (2 * w - 1) * (narrow - wide)
        cases.append(Case((*scores, w), torch.autograd.grad(tilted, z)[0].float(), f"at w = {w:g}"))
    return cases


@exercise(
    cases=_corrector_cases,
    mistakes=[
        Mistake(lambda u, c, w: u + w * (c - u), "this is the guided score s_w; s′ is what is left of it."),
        Mistake(
            lambda u, c, w: u + w * (c - u) - c / 2,
            "this is ½ s′: the Langevin move has a factor ½ β as well.",
        ),
        Mistake(lambda u, c, w: u + w * (c - u) - c, "s_w stands with β, the other two with ½ β: double s_w."),
        Mistake(
            lambda u, c, w: 2 * (u + w * (c - u)) - u,
            "DDIM's move is the class's, with s_c, not that of the model that knows no class.",
        ),
        Mistake(lambda u, c, w: 2 * (u + w * (c - u)) + c, "the sign: bring ½ β s_c to the other side."),
    ],
    hint="β s_w = ½ β s_c + ½ β s′ with s_w = s_u + w (s_c − s_u). Solve for s′.",
    on_cpu=(),
)
def corrector_score(uncond: Tensor, cond: Tensor, w: float) -> Tensor:
    """The scores s_u and s_c (B, ...), scale w → s′ (B, ...), whose Langevin move DDPM adds to DDIM.

    Bradley and Nakkiran 2024: guided DDPM is a predictor and a corrector.
    """
    return 2 * (uncond + w * (cond - uncond)) - cond
