"""Better guidance: in an interval, projected (APG), and with the unconditional noise put back (CFG++)."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.diffusion.paths import over
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise


def _interval_cases() -> list[Case]:
    """The answer latent by latent, with `torch.lerp` (start, end, weight): weight 1 is v_c."""
    v_u, v_c = noise(5, 2, 3, 4, seed=6), noise(5, 2, 3, 4, seed=7)
    times, w, cases = (0.125, 0.25, 0.5, 0.75, 0.875), 3.0, []  # exact in float32, as the ends are
    for low, high in ((0.25, 0.75), (0.0, 1.0), (0.375, 0.625)):
        pairs = zip(v_u.double(), v_c.double(), times, strict=True)
        expected = torch.stack([torch.lerp(u, c, w if low < t <= high else 1.0) for u, c, t in pairs])
        inputs = v_u, v_c, w, torch.tensor(times), low, high
        cases.append(Case(inputs, expected, f"at five times t, for {low:g} < t ≤ {high:g}"))
    return cases


def _guided(v_u: Tensor, v_c: Tensor, w: float) -> Tensor:
    return v_u + w * (v_c - v_u)


_EACH_ROW = "look at each latent's own t: (t > low) & (t <= high) is one truth value per latent."


@exercise(
    cases=_interval_cases,
    mistakes=[
        Mistake(
            lambda u, c, w, t, low, high: torch.where(over((t > low) & (t <= high), u), _guided(u, c, w), u),
            "outside the interval the prompt still counts: return v_c there, not v_u.",
        ),
        Mistake(
            lambda u, c, w, t, low, high: over((t > low) & (t <= high), u) * _guided(u, c, w),
            "outside the interval the answer is v_c: no guidance, but a velocity all the same.",
        ),
        Mistake(
            lambda u, c, w, t, low, high: torch.where(over((t > low) & (t <= high), u), c, _guided(u, c, w)),
            "inside and outside are swapped: torch.where(inside, guided, v_c).",
        ),
        Mistake(
            lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t < high), u), _guided(u, c, w), c),
            "the ends are the other way round: t > low and t <= high.",
        ),
        Mistake(
            lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t <= high), u), _guided(u, c, w), c),
            "low itself lies outside: t > low, and t <= high.",
        ),
        Mistake(lambda u, c, w, t, low, high: _guided(u, c, w), f"every latent was guided: {_EACH_ROW}"),
        Mistake(lambda u, c, w, t, low, high: c, f"no latent was guided: {_EACH_ROW}"),
        Mistake(
            lambda u, c, w, t, low, high: torch.where(over((t > low) & (t <= high), u), c + w * (c - u), c),
            "this is the 1 + w convention: guided is v_u + w (v_c − v_u).",
        ),
    ],
    hint="guided = v_u + w (v_c − v_u); then torch.where(inside[:, None, None, None], guided, v_c).",
    on_error={
        "ambiguous": "t holds a time for each latent: join the two comparisons with &, and choose with torch.where.",
        "must match": "the mask has one entry per latent: inside[:, None, None, None] spreads it over the latent.",
    },
    keywords=("low", "high"),
    on_cpu=(),
)
def interval_guidance(v_u: Tensor, v_c: Tensor, w: float, t: Tensor, low: float, high: float) -> Tensor:
    """Velocities v_u and v_c (B, C, h, w), the scale w, times t (B,) → guided for low < t ≤ high, else v_c.

    Kynkäänniemi et al. 2024.
    """
    inside = over((t > low) & (t <= high), v_u)
    return torch.where(inside, v_u + w * (v_c - v_u), v_c)


def _projected_cases() -> list[Case]:
    """Row by row with the matrix that projects on ẑ0_c: the part along it is c cᵀ Δ / cᵀ c."""
    told = torch.tensor([[0.0, 2.0]]), torch.tensor([[2.0, 0.0]])
    random = noise(4, 4, seed=8), noise(4, 4, seed=9)  # as many rows as columns: a wrong axis does not stop
    cases = []
    for (z0_u, z0_c), w, eta in ((told, 3.0, 0.0), (random, 4.0, 0.0), (random, 2.5, 0.25), (random, 1.0, 0.5)):
        expected = []
        for u, c in zip(z0_u.double(), z0_c.double(), strict=True):
            shrink = torch.eye(len(c), dtype=torch.float64) - (1 - eta) * torch.outer(c, c) / torch.dot(c, c)
            expected.append(c + (w - 1) * shrink @ (c - u))
        words = f"at w = {w:g} with eta = {eta:g}"
        if z0_u is told[0]:
            words += ", from ẑ0_u = (0, 2) and ẑ0_c = (2, 0)"
        cases.append(Case((z0_u, z0_c, w, eta), torch.stack(expected), words))
    return cases


def _along(delta: Tensor, onto: Tensor) -> Tensor:
    return (delta * onto).sum(1, keepdim=True) / onto.square().sum(1, keepdim=True) * onto


def _for_the_batch(u: Tensor, c: Tensor, w: float, eta: float) -> Tensor:
    delta = c - u
    along = (delta * c).sum() / c.square().sum() * c
    return c + (w - 1) * (delta - (1 - eta) * along)


@exercise(
    cases=_projected_cases,
    mistakes=[
        Mistake(
            lambda u, c, w, eta: c + (w - 1) * (_along(c - u, c) + eta * (c - u - _along(c - u, c))),
            "this keeps the part along ẑ0_c and shortens the part across it: it is the other way round.",
        ),
        Mistake(
            lambda u, c, w, eta: c + (w - 1) * (c - u - (1 - eta) * _along(c - u, u)),
            "project on the conditional guess z0_c, not on z0_u.",
        ),
        Mistake(
            lambda u, c, w, eta: c + w * (c - u - (1 - eta) * _along(c - u, c)),
            "the start is z0_c already, which is w = 1: go on by w − 1.",
        ),
        Mistake(
            lambda u, c, w, eta: u + w * (c - u - (1 - eta) * _along(c - u, c)),
            "start at z0_c and go on by w − 1. From z0_u even the first step, up to w = 1, would be projected.",
        ),
        Mistake(
            lambda u, c, w, eta: c + (w - 1) * (c - u),
            "this is plain CFG: the part along z0_c is still in it in full.",
        ),
        Mistake(
            lambda u, c, w, eta: c + (w - 1) * (c - u - _along(c - u, c)),
            "the part along z0_c is gone in full, but a share eta of it is to be kept.",
        ),
        Mistake(
            lambda u, c, w, eta: c + (w - 1) * (c - u - (1 - eta) * ((c - u) * c).sum(1, keepdim=True) * c),
            "divide by the squared length of z0_c, or make it a unit vector first.",
        ),
        Mistake(_for_the_batch, "each row has a product of its own: (delta * z0_c).sum(1, keepdim=True)."),
    ],
    hint="delta = z0_c − z0_u; along = (delta · z0_c) / (z0_c · z0_c) · z0_c, row by row; the rest of delta is across.",
    on_error={"must match": "one product per row: (delta * z0_c).sum(1, keepdim=True) keeps the axis."},
    on_cpu=(),
)
def projected_guidance(z0_u: Tensor, z0_c: Tensor, w: float, eta: float) -> Tensor:
    """Guesses of the data z0_u and z0_c (B, D), the scale w, the share eta in [0, 1] of the part along z0_c → (B, D).

    Sadat et al. 2024.
    """
    delta = z0_c - z0_u
    along = (delta * z0_c).sum(1, keepdim=True) / z0_c.square().sum(1, keepdim=True) * z0_c
    return z0_c + (w - 1) * (delta - along + eta * along)


def _plus_plus_cases() -> list[Case]:
    """On the straight path the step is one of Euler's, with CFG at w = λ α_s σ_t / (α_s σ_t − α_t σ_s)."""
    cases = []
    for shape, t, s, lam in (((3, 2), 0.8, 0.6, 0.5), ((2, 4, 3, 3), 0.5, 0.25, 0.8), ((3, 2), 1.0, 0.75, 0.3)):
        z, v_u, v_c = (noise(*shape, seed=seed) for seed in (10, 11, 12))
        z0_u, z0_c, eps_u, eps_c = z - t * v_u, z - t * v_c, z + (1 - t) * v_u, z + (1 - t) * v_c
        w = lam * (1 - s) * t / ((1 - s) * t - (1 - t) * s)
        z, v_u, v_c = z.double(), v_u.double(), v_c.double()
        inputs = z0_u, z0_c, eps_u, eps_c, lam, 1 - s, s
        cases.append(Case(inputs, z + (s - t) * (v_u + w * (v_c - v_u)), f"from t = {t:g} to s = {s:g} at λ = {lam:g}"))
    return cases


@exercise(
    cases=_plus_plus_cases,
    mistakes=[
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)) + s * (n_u + lam * (n_c - n_u)),
            "this is plain CFG with w = λ: the noise was guided, too. Put the unconditional noise back.",
        ),
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)) + s * n_c,
            "the noise that is put back is the unconditional one, eps_u.",
        ),
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: a * u + s * (n_u + lam * (n_c - n_u)),
            "the two are swapped: the guess of the data is guided, the noise is not.",
        ),
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: a * (c + lam * (u - c)) + s * n_u,
            "at λ = 0 the guess is z0_u, and at λ = 1 it is z0_c.",
        ),
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: s * (u + lam * (c - u)) + a * n_u,
            "α goes with the data, σ with the noise.",
        ),
        Mistake(
            lambda u, c, n_u, n_c, lam, a, s: u + lam * (c - u) + s * n_u,
            "the data is scaled by α_s before the noise is added.",
        ),
    ],
    hint="first the guess: z0_u + λ (z0_c − z0_u). Then noise it to s: α_s · guess + σ_s · noise.",
    on_cpu=(),
)
def cfgpp_step(
    z0_u: Tensor, z0_c: Tensor, eps_u: Tensor, eps_c: Tensor, lam: float, alpha_s: float, sigma_s: float
) -> Tensor:
    """Both guesses of the data and of the noise (B, ...), λ in [0, 1], α and σ at the next time → its latents (B, ...).

    Chung et al. 2024.
    """
    return alpha_s * (z0_u + lam * (z0_c - z0_u)) + sigma_s * eps_u
