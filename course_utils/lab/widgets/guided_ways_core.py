"""Methods of guidance in the plane without widgets: where each takes the same points of noise, beside plain guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image
from torch import Tensor

from course_utils.arguments import number, whole
from course_utils.diffusion.guidance import ClassifierFreeGuidance, Guidance, checked_scale
from course_utils.diffusion.mixture import LabelledMixture, MixtureDenoiser
from course_utils.diffusion.samplers import euler, time_grid
from course_utils.evaluation.energy import energy_distance
from course_utils.lab import planes, plots
from course_utils.lab.widgets.latest import ShouldStop

PLAIN = "plain guidance"
W_MAX, STEPS, DRAWN, PER_ROW = 8.0, 30, 50, 4
SIDE, REACH = 4.6, 2.3  # inches of a panel, and half of what it shows
AIM = plots.COLOURS[5]


@dataclass(frozen=True)
class GuidedRequest:
    """A method by its name, and w."""

    method: str
    guidance_scale: float = 4.0

    @property
    def words(self) -> str:
        """What is shown, in one line."""
        return f"{self.method} · w = {self.guidance_scale:g}"


@dataclass(frozen=True)
class GuidedResult:
    """`ways` (steps + 1, n, 2) of plain guidance and of the method, and of the ends of each: `doubt`, the mean of
    −log p(y | z), and `price`, the energy distance to the class. `encoded`: JPEG bytes of the drawing."""

    request: GuidedRequest
    ways: dict[str, Tensor]
    doubt: dict[str, float]
    price: dict[str, float]
    encoded: bytes


class GuidedCore:
    """Methods by name, each called as `method(denoiser, cond, guidance_scale)`, on the perfect denoiser of a mixture.

    All start from the same n points of noise and are asked for class y.
    """

    def __init__(self, mixture: LabelledMixture, methods: Mapping[str, Guidance], y: int = 0, n: int = 300):
        planes.check_mixture(mixture)
        if not methods or PLAIN in methods:
            raise ValueError(f"methods: got {list(methods)}; expected one or more, and none called {PLAIN!r}")
        self.mixture, self.denoiser, self.y = mixture, MixtureDenoiser(mixture), whole("y", y, 0, mixture.classes - 1)
        self.methods: dict[str, Guidance] = {PLAIN: ClassifierFreeGuidance, **methods}
        g = torch.Generator().manual_seed(0)
        self.start = torch.randn(whole("n", n, 2, 10_000), 2, generator=g)
        self.data = mixture.sample(1000, self.y, g)

    def ways(self, request: GuidedRequest) -> Tensor:
        """Where the points go, from noise to data: (steps + 1, n, 2)."""
        path, n = self.mixture.path, len(self.start)
        guided = self.methods[request.method](self.denoiser, self.denoiser.condition(self.y, n), request.guidance_scale)
        return planes.walked(euler, lambda z, t: path.from_velocity(guided(z, t), z, t), self.start, time_grid(STEPS))

    def compute(self, request: GuidedRequest, should_stop: ShouldStop = None) -> GuidedResult | None:
        """Plain guidance and the method at the same w; a ValueError names what is out of range."""
        self._check(request)
        ways = {}
        for name in dict.fromkeys((PLAIN, request.method)):
            if should_stop and should_stop():
                return None
            ways[name] = self.ways(GuidedRequest(name, request.guidance_scale))
        ends = {name: way[-1] for name, way in ways.items()}
        doubt = {
            name: float(-self.mixture.class_log_posterior(z, torch.zeros(()))[:, self.y].mean())
            for name, z in ends.items()
        }
        price = {name: energy_distance(z, self.data) for name, z in ends.items()}
        drawing = self.draw({name: (ways[name], request.guidance_scale) for name in (PLAIN, request.method)})
        return GuidedResult(request, ways, doubt, price, plots.to_jpeg(drawing))

    def overview(self, requests: Sequence[GuidedRequest]) -> Image.Image:
        """Several requests beside each other, for a notebook that is only read."""
        panels = {}
        for request in requests:
            self._check(request)
            panels[request.method] = self.ways(request), request.guidance_scale
        return self.draw(panels, 2.7)

    def draw(self, panels: Mapping[str, tuple[Tensor, float]], side: float = SIDE) -> Image.Image:
        """A panel for each name, with its ways over the exact tilted density of its w."""
        columns = min(len(panels), PER_ROW)
        rows = -(-len(panels) // columns)
        figure, axes = planes.panels(rows, columns, side)
        for ax in axes[len(panels) :]:
            ax.axis("off")
        for ax, (name, (ways, w)) in zip(axes, panels.items(), strict=False):
            planes.plane(ax, f"{name}, w = {w:g}", REACH)
            ax.title.set_fontsize(11)
            planes.contours(ax, partial(self._tilted, w=w), AIM, REACH, 64)
            planes.ways(ax, ways[:, :DRAWN])
        return planes.drawn(figure)

    def _tilted(self, z: Tensor, w: float) -> Tensor:
        """log p(z) p(y | z)^w, up to a constant."""
        now = torch.zeros(())
        return self.mixture.log_density(z, now) + w * self.mixture.class_log_posterior(z, now)[:, self.y]

    def _check(self, request: GuidedRequest) -> None:
        checked_scale(number("guidance_scale", request.guidance_scale), 1)
        if request.method not in self.methods:
            raise ValueError(f"method is {request.method!r}; expected one of {', '.join(self.methods)}")
