"""Samplers: from noise at times[0] to data at times[-1], each on one screen.

All have the form `sampler(model, z, times, generator=None, callback=None)`:

- `model(z, t)` takes latents (B, ...) and times (B,) and returns a `Prediction`, which knows its path: a
  sampler neither asks what the network predicts nor which path it was trained on.
- `z` (B, ...) is noise; `times` (steps + 1,) falls from 1 to 0, see `time_grid`.
- `generator` is one `torch.Generator`, or a list with one for each latent, so that a latent's fate does not
  depend on the batch it is in. Only the stochastic samplers draw from it.
- `callback(step, z, prediction)` is told, after step 0, 1, ..., the new latents and the prediction that led
  there: `prediction.z0` is the model's guess of the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from course_utils.arguments import number, short, whole
from course_utils.diffusion.paths import Path, Prediction

Model = Callable[[Tensor, Tensor], Prediction]
Callback = Callable[[int, Tensor, Prediction], object]
MOST_STEPS = 100_000
Generators = torch.Generator | Sequence[torch.Generator] | None


def time_grid(steps: int) -> Tensor:
    """Times (steps + 1,), evenly from 1 (noise) to 0 (data)."""
    steps = whole("steps", steps, 1, MOST_STEPS)
    return torch.arange(steps, -1, -1, dtype=torch.float64).div(steps).float()


def checked_grid(times: Tensor) -> Tensor:
    """A falling grid (steps + 1,), or a ValueError."""
    if not isinstance(times, Tensor) or times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()):
        raise ValueError(f"times is {short(times)}; expected a falling grid of 2 times or more")
    return times


def next_time(times: Tensor, t: Tensor) -> Tensor:
    """The time that follows t (B,) on a falling grid (steps + 1,): (B,). ValueError where the grid ends."""
    times = checked_grid(times).to(t)
    following = (times >= t[:, None] - 1e-6).sum(1)
    if bool((following >= len(times)).any()):
        raise ValueError(f"t is {t.tolist()}; expected times from which the grid goes on, above {times[-1]}")
    return times[following]


def matched_times(path: Path, other: Path, times: Tensor) -> Tensor:
    """The times of `path` at which its α/σ is that of `other` at `times`, of any shape, in [0, 1]; same shape and dtype.

    0 stays 0. Where `other` is noisier than `path` ever gets, the answer is 1: DDPM's path ends at α/σ = 0.007 and the
    straight one at 0, so that a very fine grid repeats its first time. α/σ of both must fall as t grows.
    """
    if not isinstance(times, Tensor) or not times.is_floating_point():
        came = times.dtype if isinstance(times, Tensor) else type(times).__name__
        raise ValueError(f"times is {came}; expected a tensor of floats in [0, 1]")
    if not bool(((times >= 0) & (times <= 1)).all()):
        raise ValueError(f"times is {times.tolist()}; expected numbers in [0, 1]")

    def noisiness(p: Path, t: Tensor) -> Tensor:
        return torch.atan2(p.sigma(t), p.alpha(t))  # grows with σ/α, and is finite where α is 0

    exact = times.detach().cpu().double()  # on the CPU first: not every device has float64
    wanted, low, high = noisiness(other, exact), torch.zeros_like(exact), torch.ones_like(exact)
    for _ in range(60):
        middle = (low + high) / 2
        above = noisiness(path, middle) >= wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where(exact == 0, exact, high).to(times)


def euler(
    model: Model, z: Tensor, times: Tensor, generator: Generators = None, callback: Callback | None = None
) -> Tensor:
    """Follow the velocity in straight steps: z_s = z_t + (s − t) v. First order, one forward per step."""
    for i, t, s in step_pairs(times, z):
        prediction = model(z, t.expand(len(z)))
        z = z + (s - t) * prediction.velocity
        if callback:
            callback(i, z, prediction)
    return z


def heun(
    model: Model, z: Tensor, times: Tensor, generator: Generators = None, callback: Callback | None = None
) -> Tensor:
    """Step with the mean of the velocities at both ends of an Euler step. Second order, two forwards per step.

    Karras et al. 2022, algorithm 1; as there, the step that ends in data is Euler's.
    """
    for i, t, s in step_pairs(times, z):
        prediction = model(z, t.expand(len(z)))
        velocity = prediction.velocity
        if times[i + 1] > 0:
            there = model(z + (s - t) * velocity, s.expand(len(z)))
            velocity = (velocity + there.velocity) / 2
        z = z + (s - t) * velocity
        if callback:
            callback(i, z, prediction)
    return z


def ddim(
    model: Model,
    z: Tensor,
    times: Tensor,
    generator: Generators = None,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """Guess the data, then noise it again to the next level with the same noise, or part of it fresh.

    z_s = α_s z0 + √(σ_s² − std²) eps + std · fresh noise (Song et al. 2021, eq. 12). eta = 0 draws nothing,
    eta = 1 is DDPM: std = eta · the posterior's standard deviation (eq. 16). On the rectified flow with
    eta = 0 this is Euler's step.
    """
    eta = number("eta", eta, 0, 1)  # deterministic to DDPM
    for i, t, s in step_pairs(times, z):
        prediction = model(z, t.expand(len(z)))
        path, z0 = prediction.path, prediction.z0
        alpha, sigma = path.alpha(s), path.sigma(s)
        std = eta * path.posterior(z, z0, t, s)[1] if eta else torch.zeros_like(sigma)
        z = alpha * z0 + (sigma**2 - std**2).clamp(min=0).sqrt() * prediction.eps
        if eta:
            z = z + std * noise_like(z, generator)
        if callback:
            callback(i, z, prediction)
    return z


def ddpm(
    model: Model, z: Tensor, times: Tensor, generator: Generators = None, callback: Callback | None = None
) -> Tensor:
    """Ancestral sampling: guess the data z0, then draw z_s ~ q(z_s | z_t, z0) (Ho et al. 2020, algorithm 2).

    The variance is the posterior's (their σ² = β̃). In the last step, into data, it is 0.
    """
    for i, t, s in step_pairs(times, z):
        prediction = model(z, t.expand(len(z)))
        mean, std = prediction.path.posterior(z, prediction.z0, t, s)
        z = mean + std * noise_like(z, generator)
        if callback:
            callback(i, z, prediction)
    return z


SAMPLERS = {"euler": euler, "heun": heun, "ddim": ddim, "ddpm": ddpm}


def noise_like(z: Tensor, generator: Generators) -> Tensor:
    """N(0, 1) in the shape of z (B, ...), drawn where the generators live, then moved to z."""
    if generator is None or isinstance(generator, torch.Generator):
        on = generator.device if generator else z.device
        return torch.randn(z.shape, generator=generator, device=on, dtype=z.dtype).to(z.device)
    if len(generator) != len(z):
        raise ValueError(f"generator holds {len(generator)} generators for {len(z)} latents; expected one each")
    return torch.cat([noise_like(row, g) for row, g in zip(z.split(1), generator, strict=True)])


def step_pairs(times: Tensor, z: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(step, t, s) with t > s neighbours in `times`, () tensors in the dtype and on the device of z."""
    if not isinstance(z, Tensor) or not z.ndim or not z.is_floating_point():
        came = f"{z.dtype} {tuple(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"z is {came}; expected latents (B, ...) of floats")
    if not isinstance(times, Tensor) or times.ndim != 1 or len(times) < 2 or not times.is_floating_point():
        came = f"{times.dtype} {tuple(times.shape)}" if isinstance(times, Tensor) else type(times).__name__
        raise ValueError(f"times is {came}; expected floats (steps + 1,) with 1 step or more, see time_grid")
    if not (times.diff() < 0).all() or times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times is {times.tolist()}; expected to fall from at most 1 to at least 0")
    times = times.to(z)
    return ((i, t, s) for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)))
