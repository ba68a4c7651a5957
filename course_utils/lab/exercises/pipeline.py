"""The whole generator: velocities, Euler steps, slerp and velocities from guesses."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.diffusion.paths import Cosine, Path, RectifiedFlow, VariancePreserving, over
from course_utils.lab.exercises.checking import Case, Mistake, exercise, noise


def _finite_difference(path: Path, z0: Tensor, eps: Tensor, t: Tensor, step: float = 1e-4) -> Tensor:
    """dz_t/dt without a formula for it: walk along the path a little, both ways."""
    ahead, behind = (path.add_noise(z0.double(), eps.double(), t.double() + d) for d in (step, -step))
    return (ahead - behind) / (2 * step)


def _velocity_cases() -> list[Case]:
    z0, eps = noise(3, 2, 3, 3, seed=0), noise(3, 2, 3, 3, seed=1)
    cases = []
    # As many latents as columns: a forgotten axis does not stop the function, and the hint can say what happened.
    for path, times, words in (
        (RectifiedFlow(), (0.2, 0.5, 0.8), "on the straight path"),
        (VariancePreserving(), (0.3, 0.6, 0.9), "on DDPM's path"),
        (Cosine(), (0.1, 0.4, 0.7), "on the cosine path"),
    ):
        t = torch.tensor(times)
        inputs = z0, eps, path.d_alpha(t), path.d_sigma(t)
        cases.append(Case(inputs, _finite_difference(path, z0, eps, t), words))
    return cases


@exercise(
    cases=_velocity_cases,
    mistakes=[
        Mistake(
            lambda z0, eps, a, s: a * z0 + s * eps,
            "each latent has its own α′ and σ′, and here they were spread along the last axis instead: "
            "d_alpha[:, None, None, None] has one number for each latent.",
        ),
        Mistake(
            lambda z0, eps, a, s: eps - z0,
            "this holds on the straight path only, where α′ = −1 and σ′ = 1: use d_alpha and d_sigma.",
        ),
        Mistake(
            lambda z0, eps, a, s: over(a, z0) * eps + over(s, z0) * z0,
            "the two are swapped: α goes with the data z0, σ with the noise eps.",
        ),
        Mistake(
            lambda z0, eps, a, s: over(s, z0) * eps - over(a, z0) * z0,
            "the sign: α′ is negative already, since the data fades. Add both terms.",
        ),
        Mistake(
            lambda z0, eps, a, s: -over(a, z0) * z0 - over(s, z0) * eps,
            "the sign: t runs from data to noise, and the velocity is dz/dt. The sampler walks against it.",
        ),
    ],
    hint="z_t = α z0 + σ eps: only α and σ depend on t, so differentiate these two.",
    tolerance=2e-3,
    on_error={
        "must match": "d_alpha is (B,) and z0 is (B, C, h, w): d_alpha[:, None, None, None] fits.",
        "broadcast": "d_alpha is (B,) and z0 is (B, C, h, w): d_alpha[:, None, None, None] fits.",
    },
    on_cpu=(),
)
def path_velocity(z0: Tensor, eps: Tensor, d_alpha: Tensor, d_sigma: Tensor) -> Tensor:
    """z0 and eps (B, C, h, w), α′ and σ′ at each latent's t, (B,) each → dz_t/dt (B, C, h, w)."""
    return over(d_alpha, z0) * z0 + over(d_sigma, z0) * eps


def _euler_cases() -> list[Case]:
    """A single picture's path is straight, and there a step is exact, however long: z_s = (1 − s) z0 + s eps."""
    told = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 6.0)
    random = noise(2, 4, 3, 3, seed=2), noise(2, 4, 3, 3, seed=3)
    cases = []
    for (z0, eps), t, s in ((told, 1.0, 0.75), (random, 0.8, 0.7), (random, 0.5, 0.0), (random, 0.25, 0.5)):
        words = f"from t = {t:g} to s = {s:g}"
        if z0 is told[0]:
            words += ", with z = 6 and v = 4"
        cases.append(Case(((1 - t) * z0 + t * eps, eps - z0, t, s), (1 - s) * z0.double() + s * eps.double(), words))
    return cases


@exercise(
    cases=_euler_cases,
    mistakes=[
        Mistake(
            lambda z, v, t, s: z + (t - s) * v,
            "the sign: the time changes by s − t, which is negative on the way to the data.",
        ),
        Mistake(lambda z, v, t, s: z - s * v, "the step is s − t long, not s."),
        Mistake(lambda z, v, t, s: z + s * v, "the step is s − t long, not s."),
        Mistake(
            lambda z, v, t, s: z - t * v,
            "this goes all the way to t = 0: it is the guess of the data, z0. A step ends at s.",
        ),
        Mistake(lambda z, v, t, s: z - v, "this is a step of length 1: multiply v by s − t."),
        Mistake(lambda z, v, t, s: z + v, "this is a step of length 1: multiply v by s − t."),
        Mistake(lambda z, v, t, s: (s - t) * v, "this is the way, not where it leads: add it to z."),
    ],
    hint="distance = time × velocity, and the time that passes from t to s is s − t.",
    on_cpu=(),
)
def euler_step(z: Tensor, v: Tensor, t: float, s: float) -> Tensor:
    """Latents z and velocities v (B, C, h, w) at time t → the latents at time s, both times in [0, 1]."""
    return z + (s - t) * v


def _slerp_cases() -> list[Case]:
    """Turn a towards b by a share of the angle, in the plane that they span (Gram and Schmidt)."""
    flat = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    many = [torch.nn.functional.normalize(noise(3, 8, seed=seed), dim=-1) for seed in (4, 5)]
    cases = []
    for (a, b), share in ((flat, 1 / 3), (many, 0.25), (many, 0.0), (many, 1.0), (many, 0.8)):
        x, y = a.double(), b.double()
        cosine = (x * y).sum(-1, keepdim=True)
        across = torch.nn.functional.normalize(y - cosine * x, dim=-1)
        turned = share * torch.atan2((y * across).sum(-1, keepdim=True), cosine)
        words = f"at share {share:.2g}"
        if a is flat[0]:
            words += ", from (1, 0) to (0, 1), which is 30°"
        cases.append(Case((a, b, share), turned.cos() * x + turned.sin() * across, words))
    return cases


@exercise(
    cases=_slerp_cases,
    mistakes=[
        Mistake(
            torch.lerp,
            "this is the straight line, which cuts through the inside of the sphere: its vectors are "
            "shorter than 1, and the denoiser has seen none of those. Use the two sines.",
        ),
        Mistake(
            lambda a, b, share: torch.nn.functional.normalize(torch.lerp(a, b, share), dim=-1),
            "the line, pushed out to the sphere: its length is 1 but its angle is not the share of the "
            "whole one, except at 0, ½ and 1. Use the two sines.",
        ),
        Mistake(
            lambda a, b, share: slerp.course(b, a, share),
            "the ends are swapped: share 0 must give a, and share 1 must give b.",
        ),
        Mistake(
            lambda a, b, share: slerp.course(a, b, share) * (a * b).sum(-1, keepdim=True).acos().sin(),
            "the division by the sine of the whole angle is missing.",
        ),
    ],
    hint="angle = acos(a · b); the weights are sin((1 − share) · angle) and sin(share · angle), both over "
    "sin(angle). Keep the last axis: (a * b).sum(-1, keepdim=True).",
    on_error={"must match": "one angle per row: (a * b).sum(-1, keepdim=True) keeps the axis."},
    on_cpu=(),
)
def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Unit vectors a and b (N, D) and a share from 0 (gives a) to 1 (gives b) → unit vectors between them (N, D).

    Shoemake 1985.
    """
    angle = (a * b).sum(-1, keepdim=True).clamp(-1, 1).acos()
    return (((1 - share) * angle).sin() * a + (share * angle).sin() * b) / angle.sin()


def _guess_cases() -> list[Case]:
    """A single picture's path: its velocity is eps − z0, and a perfect guess is z0 itself."""
    told = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 6.0)
    # As many pictures as columns: a forgotten axis does not stop the function, and the hint can say what happened.
    random = noise(3, 2, 3, 3, seed=8), noise(3, 2, 3, 3, seed=9)
    cases = []
    for (z0, eps), times in ((told, (0.5,)), (random, (1.0, 0.75, 0.25)), (random, (0.3, 0.1, 0.6))):
        words = f"at t = {', '.join(f'{t:g}' for t in times)}"
        if z0 is told[0]:
            words += ", with z = 4 and ẑ₀ = 2"
        z = RectifiedFlow().add_noise(z0, eps, torch.tensor(times))
        cases.append(Case((z, z0, torch.tensor(times)), eps.double() - z0, words))
    return cases


@exercise(
    cases=_guess_cases,
    mistakes=[
        Mistake(
            lambda z, z0, t: (z - z0) / t,
            "each picture has its own t, and here they were spread along the last axis instead: "
            "t[:, None, None, None] has one number for each picture.",
        ),
        Mistake(
            lambda z, z0, t: (z0 - z) / over(t, z),
            "the sign: the velocity points from the data to the noise, and the sampler walks against it.",
        ),
        Mistake(lambda z, z0, t: z - z0, "this is the way from ẑ₀ to z. It took the time t: divide by t."),
        Mistake(
            lambda z, z0, t: (z - z0) / (1 - over(t, z)),
            "z is t away from the data, not 1 − t: t = 0 is the data.",
        ),
        Mistake(lambda z, z0, t: over(t, z) * (z - z0), "velocity = way / time: divide by t."),
        Mistake(
            lambda z, z0, t: z - over(t, z) * z0,
            "this takes the second argument for a velocity. It is the guess of the picture.",
        ),
    ],
    hint="the path is a straight line that is at ẑ₀ at time 0 and at z at time t: velocity = way / time.",
    on_error={
        "must match": "t is (B,) and z is (B, C, H, W): t[:, None, None, None] fits.",
        "broadcast": "t is (B,) and z is (B, C, H, W): t[:, None, None, None] fits.",
    },
    learned=("z0",),
    on_cpu=(),
)
def velocity_to(z: Tensor, z0: Tensor, t: Tensor) -> Tensor:
    """Noisy pictures z and guesses z0 of their data (B, C, H, W), times t (B,) in (0, 1] → velocities (B, C, H, W)."""
    return (z - z0) / over(t, z)
