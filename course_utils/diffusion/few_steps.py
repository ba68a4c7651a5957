"""Pictures in a few long steps: a distilled student in the place of denoiser and guidance."""

from __future__ import annotations

from torch import Tensor

from course_utils.arguments import short
from course_utils.diffusion.distillation import Student
from course_utils.diffusion.guidance import ClassifierFreeGuidance, checked_scale
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.diffusion.samplers import checked_grid, next_time


class FewSteps:
    """A student as a sampler's model: `guided(z, t) -> mean velocity` from t to the next time of the grid.

    Euler's step z_s = z_t − (t − s) u is then exactly the student's. It stands where `ClassifierFreeGuidance` does, at half
    the price. student: (z, t, s, cond, w); cond (B, D); guidance_scale: w or (B,); times: the sampler's falling grid.
    """

    def __init__(self, student: Student, cond: Tensor, guidance_scale: float | Tensor, *, times: Tensor):
        self.student, self.cond, self.times = student, cond, checked_grid(times)
        self.guidance_scale = checked_scale(guidance_scale, len(cond)).to(cond).expand(len(cond))

    def __call__(self, z: Tensor, t: Tensor) -> Tensor:
        """Latents (B, ...) at times (B,) of the grid -> the mean velocity of the steps that begin there."""
        if len(z) != len(self.cond):
            raise ValueError(f"z holds {len(z)} latents; expected {len(self.cond)}, as many as cond")
        return self.student(z, t, next_time(self.times, t), self.cond, self.guidance_scale)


class FastPipeline(TextToPicture):
    """A pipeline whose denoiser is a distilled student: steps of 1, 2, 4 or 8, one forward each.

    It knows the scales that it was trained on, 0 to 15; beyond them it guesses. w is an input, so there is no difference
    of two answers left for a negative prompt or another method of guidance to work on.
    """

    STEPS = (1, 2, 4, 8)

    def check_way(self, steps: int, sampler: str, negative: str) -> None:
        """ValueError for what a distilled student cannot do."""
        super().check_way(steps, sampler, negative)
        if steps not in self.STEPS:
            raise ValueError(
                f"steps is {steps}; expected one of {', '.join(map(str, self.STEPS))}, as it was distilled"
            )
        if sampler != "euler":
            raise ValueError(f"sampler is {sampler!r}; expected 'euler', whose step a mean velocity is made for")
        if negative.strip():
            raise ValueError(f"negative is {short(negative)}; expected '': a student has no second answer to replace")

    def _run(self, cond, noise, generators, guidance_scale, *, times, guidance, **how) -> Tensor | None:
        if guidance is not ClassifierFreeGuidance:
            raise ValueError(f"guidance is {short(guidance)}; expected plain guidance, which is what was distilled")

        def student(denoiser, cond, guidance_scale, negative):
            # Without a condition there is nothing to be guided towards: that is w = 0.
            nowhere = (cond == denoiser.null).all(1)
            return FewSteps(denoiser, cond, guidance_scale.to(cond).masked_fill(nowhere, 0.0), times=times)

        return super()._run(cond, noise, generators, guidance_scale, times=times, guidance=student, **how)
