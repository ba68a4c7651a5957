"""What came after plain classifier-free guidance, each as the same object: `guided(z, t) -> velocity`.

All take (denoiser, cond, guidance_scale, negative) like `ClassifierFreeGuidance`, and some a keyword more.
Plain CFG is the same in every parametrisation; rescaling, thresholding and projecting are not, so each method
says what it works on. w = 1 is always the conditional answer unless the docstring says otherwise.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from course_utils.arguments import number
from course_utils.diffusion.guidance import ClassifierFreeGuidance, Guidance
from course_utils.diffusion.paths import Path, over
from course_utils.diffusion.samplers import checked_grid, next_time


class LimitedInterval(ClassifierFreeGuidance):
    """CFG with w while low < t ≤ high, the conditional answer at all other times.

    Kynkäänniemi et al. 2024, §3, who give the interval in noise levels. Outside it one question is
    asked and not two, so that it is cheaper than CFG.
    """

    def __init__(self, denoiser, cond, guidance_scale, negative=None, *, low: float = 0.2, high: float = 0.8):
        super().__init__(denoiser, cond, guidance_scale, negative)
        low, high = number("low", low, 0, 1), number("high", high, 0, 1)
        if not low < high:
            raise ValueError(f"interval from low {low} to high {high}; expected 0 <= low < high <= 1")
        self.low, self.high = low, high

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        if self._inside(t).any():
            return super().__call__(z, t)
        self.prepare(z, t)  # for its checks
        return self.denoiser(z, t, self.doubled_cond[len(z) :])

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        return torch.where(over(self._inside(t), z), self.combine(uncond, cond), cond)

    def _inside(self, t: Tensor) -> Tensor:
        return (t > self.low) & (t <= self.high)


class Rescale(ClassifierFreeGuidance):
    """CFG brought back to the conditional velocity's standard deviation, in the share phi.

    v = phi · v_cfg · std(v_c) / std(v_cfg) + (1 − phi) · v_cfg, stds over a latent's elements: Lin et al.
    2024, §3.4, who predict velocities too and take phi = 0.7.
    """

    def __init__(self, denoiser, cond, guidance_scale, negative=None, *, phi: float = 0.7):
        super().__init__(denoiser, cond, guidance_scale, negative)
        self.phi = number("phi", phi, 0, 1)

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        guided, dims = self.combine(uncond, cond), _elements(z)
        ratio = cond.std(dims, keepdim=True) / guided.std(dims, keepdim=True).clamp(min=1e-12)
        return self.phi * ratio * guided + (1 - self.phi) * guided


class DynamicThreshold(ClassifierFreeGuidance):
    """CFG whose data estimate ẑ0 is clipped and shrunk where it leaves the data's range.

    s = max(limit, the quantile of |ẑ0| in a latent); ẑ0 ← clip(ẑ0, −s, s) · limit / s. Saharia et al. 2022,
    §2.3, for pixels in [−1, 1], limit = 1. Normalised latents have unit variance: the default limit is 3.
    """

    def __init__(
        self,
        denoiser,
        cond,
        guidance_scale,
        negative=None,
        *,
        path: Path,
        quantile: float = 0.995,
        limit: float = 3.0,
    ):
        super().__init__(denoiser, cond, guidance_scale, negative)
        self.path, self.quantile = path, number("quantile", quantile, 0, 1)
        self.limit = _above_0("limit", limit)

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        z0 = self.path.from_velocity(self.combine(uncond, cond), z, t).z0
        return self.path.from_z0(self.threshold(z0), z, t).velocity

    def threshold(self, z0: Tensor) -> Tensor:
        """Estimates (B, ...) -> the same within [−limit, limit]."""
        s = over(z0.abs().flatten(1).quantile(self.quantile, dim=1).clamp(min=self.limit), z0)
        return z0.clamp(-s, s) * self.limit / s


class CFGPlusPlus(ClassifierFreeGuidance):
    """CFG++: the data estimate is guided by λ, but the noise put back is the unconditional one.

    z_s = α_s ẑ0(ε_u + λ (ε_c − ε_u)) + σ_s ε_u: Chung et al. 2024, algorithm 2. guidance_scale is their λ,
    meant for [0, 1]. That step is one of CFG with w = λ α_s σ_t / (α_s σ_t − α_t σ_s), which is what is
    done here; so w = 1 is not the conditional answer. It needs `times`, the sampler's grid, to know s, and
    a sampler that steps so: `ddim` on any path, `euler` on the rectified flow.
    """

    def __init__(self, denoiser, cond, guidance_scale, negative=None, *, path: Path, times: Tensor):
        super().__init__(denoiser, cond, guidance_scale, negative)
        self.path, self.times = path, checked_grid(times)

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        return uncond + over(self.scale(t), z) * (cond - uncond)

    def scale(self, t: Tensor) -> Tensor:
        """The w of CFG that makes the step from t (B,) to the next time of the grid: (B,)."""
        s = next_time(self.times, t)
        ahead, behind = self.path.alpha(s) * self.path.sigma(t), self.path.alpha(t) * self.path.sigma(s)
        return self.guidance_scale * ahead / (ahead - behind)


class APG(ClassifierFreeGuidance):
    """Adaptive projected guidance: of the step towards the condition, drop the part that only saturates.

    With Δ = ẑ0_c − ẑ0_u: Δ ← Δ + momentum · last Δ (momentum below 0 pushes away from where it went);
    shorten Δ to length `radius`; split it along and across ẑ0_c, and keep eta of what is along:
    ẑ0 = ẑ0_c + (w − 1)(Δ_across + eta · Δ_along). Sadat et al. 2024, §4. With eta = 1,
    momentum = 0, radius = None it is CFG. Remembers Δ within a run: it forgets as soon as t rises.
    """

    def __init__(
        self,
        denoiser,
        cond,
        guidance_scale,
        negative=None,
        *,
        path: Path,
        eta: float = 0.0,
        momentum: float = -0.5,
        radius: float | None = 2.5,
    ):
        super().__init__(denoiser, cond, guidance_scale, negative)
        if radius is not None:
            radius = _above_0("radius", radius)
        if abs(momentum := number("momentum", momentum, -1, 1)) == 1:
            raise ValueError(f"momentum is {momentum}; expected a number between -1 and 1")
        self.path, self.eta, self.momentum, self.radius = path, number("eta", eta, 0, 1), momentum, radius
        self._before: tuple[Tensor, Tensor] | None = None  # (t, Δ) of the last call

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        z0 = self.path.from_velocity(cond, z, t).z0
        delta = z0 - self.path.from_velocity(uncond, z, t).z0
        if self._before is not None and bool((t <= self._before[0]).all()):
            delta = delta + self.momentum * self._before[1]
        self._before = t, delta
        if self.radius is not None:
            length = delta.flatten(1).norm(dim=1).clamp(min=1e-12)
            delta = delta * over((self.radius / length).clamp(max=1.0), z)
        unit = z0 / over(z0.flatten(1).norm(dim=1).clamp(min=1e-12), z)
        along = (delta * unit).sum(_elements(z), keepdim=True) * unit
        z0 = z0 + (over(self.guidance_scale, z) - 1) * (delta - along + self.eta * along)
        return self.path.from_z0(z0, z, t).velocity


class CFGZeroStar(ClassifierFreeGuidance):
    """CFG-Zero*: scale the unconditional velocity to fit the conditional one best, and stand still at first.

    s = ⟨v_c, v_u⟩ / |v_u|², v = s v_u + w (v_c − s v_u); v = 0 while t > 1 − still. Fan et al. 2025, §4,
    for flow matching: s is the least-squares fit, and `still` is their first 4 % of the steps,
    where a model's velocity is said to be worse than none. w = 0 is s v_u; in the still part w does not count.
    """

    def __init__(self, denoiser, cond, guidance_scale, negative=None, *, still: float = 0.04):
        super().__init__(denoiser, cond, guidance_scale, negative)
        self.still = number("still", still, 0, 1)

    def guide(self, uncond: Tensor, cond: Tensor, z: Tensor, t: Tensor) -> Tensor:
        dims = _elements(z)
        squared = uncond.square().sum(dims, keepdim=True).clamp(min=1e-12)
        fitted = (cond * uncond).sum(dims, keepdim=True) / squared * uncond
        return torch.where(over(t > 1 - self.still, z), 0.0, self.combine(fitted, cond))


class AutoGuidance(ClassifierFreeGuidance):
    """v = v_weak + w (v − v_weak): away from a weaker model's answer to the *same* condition.

    Karras et al. 2024 (Guiding a diffusion model with a bad version of itself), §4. weak: a denoiser of the
    same kind, trained for less or smaller. There is no unconditional question, so no `negative` either.
    """

    def __init__(self, denoiser, cond, guidance_scale, negative=None, *, weak):
        if negative is not None:
            raise ValueError("negative: autoguidance has no unconditional question; expected None")
        super().__init__(denoiser, cond, guidance_scale)
        self.weak = weak

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        self.prepare(z, t)  # for its checks
        cond = self.doubled_cond[len(z) :]
        return self.combine(self.weak(z, t, cond), self.denoiser(z, t, cond))


def methods(path: Path, times: Tensor, weak=None) -> dict[str, Guidance]:
    """Every method by name, each called as `method(denoiser, cond, guidance_scale, negative)`.

    path and times: the sampler's. weak: the weaker denoiser of autoguidance, which is left out without one.
    """
    each: dict[str, Guidance] = {
        "CFG": ClassifierFreeGuidance,
        "interval": LimitedInterval,
        "rescale": Rescale,
        "dynamic threshold": partial(DynamicThreshold, path=path),
        "CFG++": partial(CFGPlusPlus, path=path, times=times),
        "APG": partial(APG, path=path),
        "CFG-Zero*": CFGZeroStar,
    }
    return each if weak is None else {**each, "autoguidance": partial(AutoGuidance, weak=weak)}


def _elements(z: Tensor) -> tuple[int, ...]:
    """All dimensions but the batch's."""
    return tuple(range(1, z.ndim))


def _above_0(name: str, value: float) -> float:
    if not number(name, value, 0):
        raise ValueError(f"{name} is {value}; expected a finite number above 0")
    return float(value)
