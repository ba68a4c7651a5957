"""The KL slider: drag the KL weight β, and see reconstructions and prior samples of the VAE trained with it.

`KLSliderCore` works without widgets: a weight in; pictures, encoded, and three numbers out. The same pictures and
the same noise at every weight, so that all that changes is the work of one number.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from course_utils.evaluation.latent_statistics import active_dimensions, posteriors
from course_utils.evaluation.metrics import psnr
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest
from course_utils.models.autoencoder import VAESweep

COLUMNS = 8
ROWS = ("pictures", "decoded", "from the prior")


@dataclass(frozen=True)
class Request:
    """All that the pictures depend on."""

    weight: float
    seed: int = 0

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        kind = " (plain autoencoder)" if self.weight == 0 else ""
        return f"β = {self.weight:g}{kind} · noise {self.seed}"


@dataclass(frozen=True)
class Result:
    """What one VAE of the sweep makes of the pictures and of noise.

    `reconstructions`, `samples` (n, 3, 64, 64) in [-1, 1]; `encoded`: JPEG bytes of all three rows. `psnr` in dB, mean
    over all pictures of the core; `active`: how many of `dimensions` numbers vary with the picture.
    """

    request: Request
    reconstructions: Tensor
    samples: Tensor
    encoded: bytes
    psnr: float
    active: int
    dimensions: int

    @property
    def numbers(self) -> str:
        return f"PSNR {self.psnr:.1f} dB · {self.active} of {self.dimensions} dimensions active"


class KLSliderCore:
    """Reconstructions and prior samples for each weight of a sweep.

    `pictures` (N, 3, 64, 64) in [-1, 1]: the first eight are shown, all of them are measured (take a few hundred).
    """

    def __init__(self, sweep: VAESweep, pictures: Tensor):
        if len(check_pictures(pictures, "pictures")) < 2:
            raise ValueError(f"pictures: expected two or more, got {len(pictures)}")
        self.sweep, self.pictures = sweep, pictures.cpu()
        self._measured: dict[float, tuple[float, int, int]] = {}

    @property
    def weights(self) -> tuple[float, ...]:
        return self.sweep.weights

    @torch.inference_mode()
    def compute(self, weight: float, seed: int = 0) -> Result:
        """Everything for one weight of the sweep; another weight is a ValueError that names those there are."""
        if weight not in self.weights:
            raise ValueError(f"weight: got {weight}; expected one of {', '.join(f'{w:g}' for w in self.weights)}")
        if not isinstance(seed, int) or seed < 0:
            raise ValueError(f"seed: got {seed!r}; expected a whole number, 0 or more")
        model, shown = self.sweep[weight], self.pictures[:COLUMNS]
        device = next(model.parameters()).device
        shape = (len(shown), model.config.latent_channels, model.side // 8, model.side // 8)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
        made = model.decode(torch.cat([model.encode(shown.to(device)).mode(), noise])).clamp(-1, 1).cpu()
        reconstructions, samples = made.split(len(shown))
        rows = dict(zip(ROWS, (shown, reconstructions, samples), strict=True))
        encoded = plots.to_jpeg(plots.labelled_rows(rows, scale=1.5))
        return Result(Request(weight, seed), reconstructions, samples, encoded, *self._measure(weight))

    def _measure(self, weight: float) -> tuple[float, int, int]:
        """PSNR and active dimensions over all pictures; they do not depend on the noise, so once is enough."""
        if weight not in self._measured:
            model, x = self.sweep[weight], self.pictures
            device = next(model.parameters()).device
            mean, _ = posteriors(model, x)
            z = mean.unflatten(1, (model.config.latent_channels, model.side // 8, model.side // 8)).to(device)
            x_hat = model.decode(z).clamp(-1, 1).cpu()
            active = active_dimensions(mean)
            self._measured[weight] = float(psnr(x, x_hat).mean()), int(active.sum()), len(active)
        return self._measured[weight]

    def overview(self, seed: int = 0, columns: int = 6):
        """All weights at once as a tiled picture: reconstructions left, prior samples of the same noise right."""
        half = columns // 2
        results = [self.compute(w, seed) for w in self.weights]
        rows = {"pictures": torch.cat([self.pictures[:half], torch.ones(columns - half, 3, 64, 64)])}
        for r in results:
            rows[f"β\u00a0=\u00a0{r.request.weight:g}"] = torch.cat(
                [r.reconstructions[:half], r.samples[: columns - half]]
            )
        labels = [""] * columns
        labels[0], labels[half] = "decoded", "sampled"
        return plots.labelled_rows(rows, scale=1, column_labels=labels)


class KLSlider:
    """The widget: a slider over the sweep's weights, three rows of pictures, and two numbers below them.

    `KLSlider(sweep, pictures)`; in a notebook, the last line shows it. The arrow keys move the slider, too.
    """

    def __init__(self, sweep: VAESweep, pictures: Tensor, weight: float = 1.0):
        self.core = KLSliderCore(sweep, pictures)
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        self._build(weight if weight in self.core.weights else self.core.weights[0])

    def _build(self, weight: float) -> None:
        import ipywidgets as w

        style = {"description_width": "76px"}
        options = [(f"{value:g}", value) for value in self.core.weights]
        self.weight = w.SelectionSlider(
            options=options,
            value=weight,
            description="β",
            style=style,
            layout=w.Layout(width="560px"),
        )
        self.seed = w.BoundedIntText(
            0, min=0, max=999_999, description="noise", style=style, layout=w.Layout(width="190px")
        )
        self.label, self.image, self.numbers = w.HTML(), w.Image(format="jpeg"), w.HTML()
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start")
        self.image.layout.display = "none"  # until there is a picture: an empty one shows as broken
        self.box = w.VBox([w.HBox([self.weight, self.seed]), self.label, self.image, self.numbers])
        self.box.add_class("kl-slider")
        self.label.add_class("kl-label")
        self.image.add_class("kl-pictures")
        self.weight.observe(self._asked, "value")
        self.seed.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "KL slider: run this cell in a notebook to drag the weight",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(self.weight.value, self.seed.value)

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self):
        """The same thing as a picture that a notebook keeps: an `IPython.display.Image` with a row for each weight."""
        from IPython.display import Image

        return Image(plots.to_jpeg(self.core.overview(self.seed.value)))

    def _asked(self, change: dict) -> None:
        self.label.value = f"<i>computing {escape(self.request.label)} …</i>"
        self.refresh()

    def _work(self, request: Request) -> None:
        try:
            result = self.core.compute(request.weight, request.seed)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            self.label.value = f'<span style="color:#b00020">{escape(f"{type(error).__name__}: {error}")}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.numbers.value = escape(result.numbers)
        self.shown = result
        self.label.value = f"<b>{escape(request.label)}</b>"
