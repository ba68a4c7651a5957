"""The plane of a labelled mixture without widgets: its exact field at t, and where a sampler takes points in that field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from course_utils.arguments import number, whole
from course_utils.diffusion.guidance import checked_scale
from course_utils.diffusion.mixture import LabelledMixture
from course_utils.diffusion.samplers import SAMPLERS, time_grid
from course_utils.lab import planes, plots
from course_utils.lab.widgets.judged import say_w
from course_utils.lab.widgets.latest import ShouldStop

POINTS, NODES = 40, 17
MOST_STEPS, W_MIN, W_MAX = 100, -2.0, 8.0
FIELDS = ("velocity", "score")
OFFERED = ("euler", "ddim", "ddpm")
SIDE, SMALL = 4.9, 2.7  # inches of a panel
ALL, CLASS = "#B4B8BE", planes.OF_CLASS


@dataclass(frozen=True)
class FieldRequest:
    """All that a picture depends on. t in [0, 1]; y: a class, or None for the whole mixture, where w changes nothing."""

    t: float = 0.5
    steps: int = 20
    sampler: str = "euler"
    guidance_scale: float = 1.0
    y: int | None = None
    field: str = "velocity"

    @property
    def words(self) -> str:
        """What is shown, in one line."""
        who = "all classes" if self.y is None else f"class {self.y} · {say_w(self.guidance_scale)}"
        return f"{who} · t = {self.t:.2f} · {self.sampler}, {self.steps} step{'s' * (self.steps != 1)}"


@dataclass(frozen=True)
class FieldResult:
    """`at`, `arrows` (NODES², 2): the field on a lattice, as the model has it. `ways` (steps + 1, n, 2) at `times`
    (steps + 1,) from 1 to 0. `encoded`: JPEG bytes of the drawing."""

    request: FieldRequest
    at: Tensor
    arrows: Tensor
    times: Tensor
    ways: Tensor
    encoded: bytes


class FieldCore:
    """The exact field of a mixture in the plane on its own path, and ways from the same `n` points of noise."""

    def __init__(self, mixture: LabelledMixture, seed: int = 0, n: int = POINTS):
        planes.check_mixture(mixture)
        self.mixture, self.seed = mixture, whole("seed", seed, 0, 2**32)
        self.start = torch.randn(whole("n", n, 1, 1000), 2, generator=torch.Generator().manual_seed(self.seed))

    def field(self, request: FieldRequest, z: Tensor) -> Tensor:
        """The velocity or the score at z (N, 2), guided if the request says so: (N, 2)."""
        t = torch.as_tensor(request.t, dtype=z.dtype)
        if request.field == "velocity":
            return self.mixture.model(request.y, request.guidance_scale)(z, t.expand(len(z))).velocity
        if request.y is None:
            return self.mixture.score(z, t)
        return self.mixture.guided_score(z, t, request.y, request.guidance_scale)

    def ways(self, request: FieldRequest) -> Tensor:
        """Where the points go, from noise to data: (steps + 1, n, 2)."""
        model = self.mixture.model(request.y, request.guidance_scale)
        g = torch.Generator().manual_seed(self.seed + 1)
        return planes.walked(SAMPLERS[request.sampler], model, self.start, time_grid(request.steps), g)

    def compute(self, request: FieldRequest, should_stop: ShouldStop = None) -> FieldResult | None:
        """The field at t and the ways, drawn beside each other; a ValueError names what is out of range."""
        self._check(request)
        at = planes.lattice(NODES, 0.95 * planes.REACH)
        arrows, ways, times = self.field(request, at), self.ways(request), time_grid(request.steps)
        if should_stop and should_stop():
            return None
        figure, (left, right) = self._panels(2, SIDE)
        self._draw_field(left, request, arrows)
        left.plot(*ways[int((times - request.t).abs().argmin())].T, ".", color=plots.COLOURS[1], markersize=5)
        self._draw_ways(right, request, ways)
        return FieldResult(request, at, arrows, times, ways, plots.to_jpeg(planes.drawn(figure)))

    def overview(self, request: FieldRequest, times: Sequence[float] = (0.8, 0.4, 0.1)) -> Image.Image:
        """The field at several times and the ways, for a notebook that is only read."""
        self._check(request)
        figure, axes = self._panels(len(times) + 1, SMALL)
        at = planes.lattice(NODES, 0.95 * planes.REACH)
        for ax, t in zip(axes, times, strict=False):
            asked = replace(request, t=t)
            self._draw_field(ax, asked, self.field(asked, at))
        self._draw_ways(axes[-1], request, self.ways(request))
        return planes.drawn(figure)

    @staticmethod
    def _panels(n: int, side: float):
        figure, axes = planes.panels(1, n, side)
        for ax in axes:
            ax.spines[:].set_color(ALL)
        return figure, axes

    def _draw_field(self, ax, request: FieldRequest, arrows: Tensor) -> None:
        backwards = request.field == "velocity"  # dz/dt leads to noise, and sampling goes against it
        planes.plane(ax, f"{'−' * backwards}{request.field} at t = {request.t:.2f}")
        self._contours(ax, request.t, request.y)
        cell = 2 * 0.95 * planes.REACH / (NODES - 1)
        length = arrows.norm(dim=1, keepdim=True)
        # One cell for all but the longest twentieth, which would hide the others if they grew on.
        unit = cell / length.quantile(0.95).clamp(min=1e-6)
        shown = (-arrows if backwards else arrows) * torch.minimum(unit, 1.3 * cell / length.clamp(min=1e-6))
        planes.arrows(ax, lambda _: shown, n=NODES)

    def _draw_ways(self, ax, request: FieldRequest, ways: Tensor) -> None:
        planes.plane(ax, f"{len(self.start)} points, {request.sampler}, {request.steps} steps")
        self._contours(ax, 0.0, request.y)
        planes.ways(ax, ways)

    def _contours(self, ax, t: float, y: int | None) -> None:
        at = torch.tensor(t)
        planes.contours(ax, lambda z: self.mixture.log_density(z, at), ALL, n=64)
        if y is not None:
            planes.contours(ax, lambda z: self.mixture.log_density(z, at, y), CLASS, n=64)

    def _check(self, request: FieldRequest) -> None:
        number("t", request.t, 0, 1)
        whole("steps", request.steps, 1, MOST_STEPS)
        checked_scale(number("guidance_scale", request.guidance_scale), 1)
        if request.sampler not in SAMPLERS:
            raise ValueError(f"sampler is {request.sampler!r}; expected one of {', '.join(SAMPLERS)}")
        if request.field not in FIELDS:
            raise ValueError(f"field is {request.field!r}; expected one of {', '.join(FIELDS)}")
        if request.y is not None:
            whole("y", request.y, 0, self.mixture.classes - 1)
