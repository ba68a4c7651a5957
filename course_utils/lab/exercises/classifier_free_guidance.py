"""Classifier-free guidance: condition dropout, the CFG line in both conventions, and what hides in the difference."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise
from course_utils.lab.exercises.returns import NUMBER, Wrong


def _guided_cases(first: str, second: str) -> list[Case]:
    """Pairs of predictions and scales, with `torch.lerp` (start, end, weight) for the answer.

    The first pair is constant, so that a wrong answer can be followed in one's head.
    """
    plain = torch.full((1, 2, 2, 2), 1.0), torch.full((1, 2, 2, 2), 3.0)
    random = noise(2, 4, 3, 3, seed=0), noise(2, 4, 3, 3, seed=1)
    told = Case((*plain, 3.0), torch.lerp(*plain, 3.0), f"with {first} = 1, {second} = 3 and w = 3")
    return [told, *(Case((*random, w), torch.lerp(*random, w), f"at w = {w:g}") for w in (0.0, 1.0, 7.5))]


def _velocity_cases() -> list[Case]:
    """The lecture's cases for velocities, and one by way of the scores at a z_t and t, which drop out."""
    z, t, w, pair = noise(2, 4, 3, 3, seed=3).double(), 0.6, 2.5, (noise(2, 4, 3, 3, seed=4), noise(2, 4, 3, 3, seed=5))
    score_u, score_c = (-(z + (1 - t) * v.double()) / t for v in pair)
    guided = score_u + w * (score_c - score_u)
    by_scores = Case((*pair, w), (-t * guided - z) / (1 - t), f"by way of the scores at t = {t:g}, for w = {w:g}")
    return [*_guided_cases("v_uncond", "v_cond"), by_scores]


@exercise(
    cases=_velocity_cases,
    mistakes=[
        Mistake(
            lambda u, c, w: u + w * (u - c),
            "the sign of the difference: guidance walks from the unconditional velocity *towards* the "
            "conditional one, so the difference is v_cond − v_uncond.",
        ),
        Mistake(
            lambda u, c, w: -(u + w * (c - u)),
            "the sign: score and velocity point in opposite directions on *both* sides of the equation, so the minus "
            "cancels.",
        ),
        Mistake(
            lambda u, c, w: c + w * (u - c),
            "the two predictions are swapped: w = 0 must give v_uncond, w = 1 must give v_cond.",
        ),
        Mistake(
            lambda u, c, w: u + (c - u) + 0 * w,
            "guidance_scale is missing: p(c | z_t) counts w times.",
        ),
        Mistake(
            lambda u, c, w: w * (c - u),
            "the starting point is missing: p(z_t) is a factor of the density, too.",
        ),
        Mistake(
            lambda u, c, w: c + w * (c - u),
            "this is the density p(z_t | c) p(c | z_t)^w, which starts at v_cond: the 1 + w convention. Here w = 0 gives "
            "v_uncond.",
        ),
        Mistake(
            lambda u, c, w: u + w * c,
            "the score of p(z_t | c) was put in place of that of p(c | z_t): by Bayes' rule they differ by the score of "
            "p(z_t).",
        ),
    ],
    hint="with scores s: s_u + w ∇ log p(c | z_t), and by Bayes' rule this gradient is s_c − s_u. Then put "
    "s = −(z_t + (1 − t) v) / t in on both sides.",
    on_cpu=(),
)
def cfg_combine(v_uncond: Tensor, v_cond: Tensor, guidance_scale: float) -> Tensor:
    """Velocities (B, ...) without and with the prompt, and w → the velocity of p(z_t) p(c | z_t)^w, (B, ...).

    The same line combines noise predictions, scores and guesses of the data.
    """
    return v_uncond + guidance_scale * (v_cond - v_uncond)


_ROWS, _WIDTH, _P = 2000, 6, 0.2
_GENERATOR_HINT = "draw with the generator that is passed in: torch.rand(len(cond), generator=generator)."


def _check_drop_condition(attempt: Attempt) -> None:
    cond, null = noise(_ROWS, _WIDTH, seed=2), torch.full((_WIDTH,), 9.0)

    def call(generator: torch.Generator, p: float = _P, rows: int = _ROWS) -> Tensor:
        case = Case((), cond[:rows], f"{rows} rows and p = {p:g}")
        answer = attempt(cond[:rows], null, p, generator)
        if answer.ndim == 2 and len(answer) < rows:
            raise Wrong(
                f"{case.words}: {rows} rows went in and {len(answer)} came out",
                "rows are replaced, not removed: a picture without its caption is still trained on. "
                "torch.where(mask[:, None], null, cond) keeps the shape.",
            )
        return _same_shape(answer, case)

    # The state of the global generator must not matter. That of the one passed in must.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        g = torch.Generator().manual_seed(5)
        first, second = call(g), call(g)
        torch.manual_seed(1)
        again = call(torch.Generator().manual_seed(5))

        kept, nulled = (first == cond).all(1), (first == null).all(1)
        _check_rows(first, cond, null, kept, nulled)
        if not torch.equal(first, again):
            raise Wrong("the same generator state gave other rows the second time", _GENERATOR_HINT)
        if torch.equal(first, second) and bool(nulled.any()) and bool(kept.any()):
            raise Wrong(
                "two steps in a row dropped the same rows",
                "each step needs a fresh draw: don't reseed, and don't drop the first p · B rows. " + _GENERATOR_HINT,
            )
        batches = torch.stack([(call(g, rows=4) == null).all(1) for _ in range(60)])  # (60, 4)
        together = bool((batches.all(1) | ~batches.any(1)).all())
        _check_share(float(batches.float().mean() if together else nulled.float().mean()), together)
        below = "a row is dropped where a uniform draw in [0, 1) is below p."
        if not torch.equal(call(g, 0.0), cond):
            raise Wrong("at p = 0 some rows were dropped", below)
        if not torch.equal(call(g, 1.0), null.expand_as(cond)):
            raise Wrong("at p = 1 some rows were kept", below)
        _check_gradient(attempt, cond, null)


def _same_shape(answer: Tensor, case: Case) -> Tensor:
    if answer.shape != case.expected.shape:
        raise Wrong(
            f"{case.words}: expected shape {tuple(case.expected.shape)}, got {tuple(answer.shape)}",
            "the mask has one entry per row; mask[:, None] makes it (B, 1), which spreads along the row.",
        )
    return answer.detach()


def _check_rows(answer: Tensor, cond: Tensor, null: Tensor, kept: Tensor, nulled: Tensor) -> None:
    """Every row is one of the two: untouched, or null from end to end."""
    strange = ~(kept | nulled)
    if not bool(strange.any()):
        return
    what = f"row {int(strange.nonzero()[0])} is neither untouched nor the null condition"
    per_element = ((answer == cond) | (answer == null)).all(1)
    if bool(per_element[strange].all()):
        raise Wrong(
            what,
            "single numbers were replaced: a condition goes as a whole. Draw *one* number per row, not (B, D).",
        )
    zero = (answer == 0).all(1)
    if bool((zero | kept)[strange].all()):
        raise Wrong(what, "dropped rows became zeros: the learned vector `null` belongs in their place.")
    ratio = answer[strange] / cond[strange]
    scaled = ((ratio - ratio[:, :1]).abs() < 1e-3 * (1 + ratio.abs())).all(1)
    if bool((scaled | (answer[strange] == 0).any(1)).all()):
        raise Wrong(what, "kept rows were rescaled by 1 / (1 − p), as nn.Dropout does: here they stay as they are.")
    raise Wrong(what, "a dropped row *is* null, a kept row *is* cond: choose with torch.where, never mix.")


def _check_share(share: float, together: bool) -> None:
    """Rows are dropped at rate p, one by one. Among 2,000 the share is off by 0.05 about once in 10⁷ checks."""
    if together and 0 < share < 1:
        raise Wrong(
            "in small batches it is all rows or none",
            "one draw decided for the whole batch: draw one number per row, so that a step sees both kinds.",
        )
    if abs(share - _P) < 0.05:
        return
    what = f"at p = {_P:g} a share of {share:.2f} of the rows was dropped"
    if abs(share - (1 - _P)) < 0.05:
        raise Wrong(what, "p and 1 − p are swapped: p is the probability to *drop* a condition.")
    raise Wrong(what, "a row is dropped with probability p: torch.rand(len(cond), generator=generator) < p.")


def _check_gradient(attempt: Attempt, cond: Tensor, null: Tensor) -> None:
    """By hand, d(sum)/d(null) is the number of dropped rows, since null is learned where it is put in."""
    learned = null.clone().requires_grad_()
    answer = attempt(cond, learned, _P, torch.Generator().manual_seed(5))
    dropped = float((answer.detach() == null).all(1).sum())
    if answer.requires_grad:
        answer.sum().backward()
    if learned.grad is None or not torch.allclose(learned.grad, torch.full_like(null, dropped)):
        raise Wrong(
            "no gradient reaches null",
            "null is learned like any weight: no .detach(), .data or no_grad on its way into the batch.",
        )


@exercise(
    check=_check_drop_condition,
    on_error={
        "must match the size": "the mask is (B,), cond is (B, D): mask[:, None] makes it (B, 1), which fits.",
    },
    keywords=("p", "generator"),
    on_cpu=("generator",),
)
def drop_condition(cond: Tensor, null: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """cond (B, D), null (D,), 0 ≤ p ≤ 1 → (B, D): each row replaced by null with probability p.

    Ho and Salimans 2022, algorithm 1.
    """
    dropped = torch.rand(len(cond), generator=generator) < p
    return torch.where(dropped[:, None].to(cond.device), null, cond)


def _one_plus_w_cases() -> list[Case]:
    """The lecture's cases, each with the w' = w − 1 that means the same. At w = 0, w' is −1."""
    return [
        Case((u, c, w - 1.0), case.expected, case.words.replace(f"w = {w:g}", f"w' = {w - 1:g}"))
        for case in _guided_cases("eps_uncond", "eps_cond")
        for u, c, w in [case.inputs]
    ]


@exercise(
    cases=_one_plus_w_cases,
    mistakes=[
        Mistake(
            lambda u, c, w: (1 + w) * c + w * u,
            "the sign of the second term: the weights 1 + w' and −w' add up to 1.",
        ),
        Mistake(
            lambda u, c, w: (1 + w) * u - w * c,
            "the two predictions are swapped: it is eps_cond that takes 1 + w'.",
        ),
        Mistake(
            lambda u, c, w: u + w * (c - u),
            "this is the lecture's convention, where the scale is w. Here w' = 0 is already conditional.",
        ),
        Mistake(
            lambda u, c, w: w * c - (1 + w) * u,
            "the weights are at the wrong predictions: eps_cond takes 1 + w', eps_uncond takes −w'.",
        ),
        Mistake(
            lambda u, c, w: (1 + w) * c - u,
            "eps_uncond has a weight too: −w'. Together the weights must add up to 1.",
        ),
        Mistake(
            lambda u, c, w: (1 + w) * (c - u),
            "the starting point is missing: this is only the step that is added to eps_uncond.",
        ),
    ],
    hint="eps_cond takes the weight 1 + w', eps_uncond takes −w'. w' = 0 gives eps_cond.",
)
def cfg_paper(eps_uncond: Tensor, eps_cond: Tensor, w_prime: float) -> Tensor:
    """Two noise predictions (B, ...) and the scale w' ≥ -1 → (1 + w') ε_c − w' ε_u.

    Ho and Salimans 2022, equation 6.
    """
    return (1 + w_prime) * eps_cond - w_prime * eps_uncond


@exercise(
    cases=lambda: [
        Case((w_prime,), torch.tensor(w), f"for w' = {w_prime:g}")
        for w_prime, w in ((2.0, 3.0), (0.0, 1.0), (-1.0, 0.0), (6.5, 7.5))
    ],
    mistakes=[
        Mistake(lambda w: w, "w' = 0 means conditional, and the lecture calls that w = 1."),
        Mistake(lambda w: w - 1, "the other way round: this makes w' from w."),
        Mistake(lambda w: 1 - w, "the sign: more w' is more w."),
    ],
    hint="compare the weights of eps_cond in the two lines: w in one, 1 + w' in the other.",
    returns=NUMBER,
)
def w_from_w_prime(w_prime: float) -> float:
    """The scale w' of `cfg_paper` → the w of `cfg_combine` that gives the same prediction."""
    return 1 + w_prime


def _two_push_cases() -> list[Case]:
    """Three predictions and two scales. The answer is their weighted sum, with the weights 1 − w + w_neg, w and −w_neg."""
    plain = [torch.full((1, 2, 2, 2), value) for value in (1.0, 3.0, 2.0)]
    random = [noise(2, 4, 3, 3, seed=seed) for seed in (0, 1, 2)]

    def case(three: list[Tensor], w: float, w_neg: float, words: str) -> Case:
        expected = torch.tensordot(torch.tensor([1 - w + w_neg, w, -w_neg]), torch.stack(three), 1)
        return Case((*three, w, w_neg), expected, words)

    told = case(plain, 4.0, 2.0, "with eps_uncond = 1, eps_cond = 3, eps_neg = 2, w = 4 and w_neg = 2")
    scales = (0.0, 0.0), (3.0, 0.0), (3.0, 1.5)
    return [told, *(case(random, w, w_neg, f"at w = {w:g} and w_neg = {w_neg:g}") for w, w_neg in scales)]


@exercise(
    cases=_two_push_cases,
    mistakes=[
        Mistake(
            lambda u, c, n, w, v: u + w * (c - u) + v * (n - u),
            "the sign of the second push: this walks towards what should be avoided.",
        ),
        Mistake(
            lambda u, c, n, w, v: n + w * (c - n) + 0 * v,
            "this puts eps_neg in the place of eps_uncond, as section 11 does. Here both pushes start at eps_uncond, so "
            "that what the two prompts share does not cancel.",
        ),
        Mistake(
            lambda u, c, n, w, v: u + w * (c - u) - v * n,
            "the negative prediction was subtracted whole: what w_neg scales is its *difference* from eps_uncond.",
        ),
        Mistake(
            lambda u, c, n, w, v: u + w * (c - u) - v * (n - c),
            "the second difference is taken from eps_cond: both are taken from eps_uncond.",
        ),
        Mistake(
            lambda u, c, n, w, v: w * (c - u) - v * (n - u),
            "the starting point is missing: add both pushes to eps_uncond.",
        ),
        Mistake(
            lambda u, c, n, w, v: u + w * (c - u) - w * (n - u) + 0 * v,
            "w_neg is missing: it scales the push away from eps_neg.",
        ),
        Mistake(
            lambda u, c, n, w, v: u + w * (c - u) + 0 * (n + v),
            "the negative prompt has no say yet: subtract w_neg times its difference from eps_uncond.",
        ),
    ],
    hint="start at eps_uncond, add w times the way to eps_cond, subtract w_neg times the way to eps_neg.",
)
def negative_prompt(eps_uncond: Tensor, eps_cond: Tensor, eps_neg: Tensor, w: float, w_neg: float) -> Tensor:
    """Predictions (B, ...) for no prompt, a prompt and a negative prompt → towards the one with w, away from the other
    with w_neg, each push against the unconditional prediction."""
    return eps_uncond + w * (eps_cond - eps_uncond) - w_neg * (eps_neg - eps_uncond)


def _implicit_score_cases(step: float = 1e-4) -> list[Case]:
    """Two Gaussian classes in the plane, where p(y | z_t) is known: its gradient by finite differences.

    z_0 | y ~ N(m_y, s² I), z_t = α z_0 + σ ε, so z_t | y ~ N(α m_y, α² s² + σ²), and the best guess at the
    noise is ε_y(z_t) = σ (z_t − α m_y) / (α² s² + σ²); without y, the mean of both, weighted by p(y | z_t).
    """
    means = torch.tensor([[1.0, 0.5], [-1.0, -0.2]], dtype=torch.float64)
    prior = torch.tensor([0.3, 0.7], dtype=torch.float64).log()
    s = 0.6
    cases = []
    for sigma in (0.5, 0.8, 0.2):
        alpha = 1 - sigma
        variance = alpha**2 * s**2 + sigma**2

        def log_posterior(z: Tensor, alpha: float = alpha, variance: float = variance) -> Tensor:
            squares = (z[:, None] - alpha * means).square().sum(-1)
            return (prior - squares / (2 * variance)).log_softmax(1)  # (N, 2)

        z = noise(5, 2, seed=7).double()
        shifts = step * torch.eye(2, dtype=torch.float64)
        gradient = torch.stack(
            [(log_posterior(z + d)[:, 0] - log_posterior(z - d)[:, 0]) / (2 * step) for d in shifts], dim=1
        )
        eps = sigma * (z[:, None] - alpha * means) / variance  # (N, 2 classes, 2)
        uncond = (log_posterior(z).exp()[..., None] * eps).sum(1)
        inputs = (uncond.float(), eps[:, 0].float(), torch.full((5, 1), sigma))
        cases.append(Case(inputs, gradient, f"for two Gaussian classes at σ_t = {sigma:g}"))
    return cases


@exercise(
    cases=_implicit_score_cases,
    mistakes=[
        Mistake(
            lambda u, c, s: (c - u) / s,
            "the sign: the score is −ε / σ_t, noise points *away* from the data.",
        ),
        Mistake(
            lambda u, c, s: -(c - u),
            "1/σ_t is missing: ε has unit size at every t, the score is −ε / σ_t.",
        ),
        Mistake(
            lambda u, c, s: c - u,
            "both the sign and 1/σ_t are missing: the score is −ε / σ_t.",
        ),
        Mistake(lambda u, c, s: -(c - u) * s, "σ_t divides: the score is −ε / σ_t."),
        Mistake(lambda u, c, s: -(c - u) / s**2, "once is enough: ε / σ_t, not ε / σ_t²."),
        Mistake(
            lambda u, c, s: -c / s,
            "this is the score of p(z_t | y): by Bayes the score of p(z_t) is subtracted from it.",
        ),
    ],
    hint="Bayes: ∇ log p(y | z_t) = ∇ log p(z_t | y) − ∇ log p(z_t), and each score is −ε / σ_t.",
    tolerance=1e-3,
)
def implicit_score(eps_uncond: Tensor, eps_cond: Tensor, sigma_t: Tensor) -> Tensor:
    """Noise predictions (B, ...) without and with a condition y, and σ_t > 0 → ∇ log p(y | z_t), (B, ...)."""
    return -(eps_cond - eps_uncond) / sigma_t
