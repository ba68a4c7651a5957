"""What the scale of guidance does to pictures, in six numbers that pull against each other (notebook 08).

Each number is an interval (value, low, high). What real pictures reach, through the same decoder, stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.datasets.attributes import sample_attributes
from course_utils.datasets.captions import named, true_of
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import device_of, in_chunks, reconstructed
from course_utils.evaluation.intervals import Interval, jackknife_interval, mean_interval, share_interval
from course_utils.evaluation.judge import adherence, diversity_of, predictions
from course_utils.evaluation.kernel import kernel_distance, kernel_interval, yardstick
from course_utils.evaluation.realness import realness
from course_utils.models.autoencoder import VAE

ADHERENCE, DIVERSITY, DISTANCE = "all named attributes right", "diversity of what is open", "kernel distance to real"
REALNESS, SPREAD, COLOUR = "looks real", "spread of the latents", "colour"


def vividness(x: Tensor) -> Tensor:
    """How colourful the most colourful twentieth of each picture is: (N, 3, H, W) in [-1, 1] -> (N,) on the CPU.

    The largest of red, green and blue minus the smallest: 0 is grey, 1 a pure colour.
    """
    return (x.amax(1) - x.amin(1)).flatten(1).cpu().quantile(0.95, dim=1) / 2


def with_interval(values: Tensor) -> Interval:
    """The mean of independent values (n,) and its `mean_interval`."""
    return float(values.mean()), *mean_interval(values)


class TradeOff:
    """Measures a pipeline's pictures against captions, against each other and against real pictures.

    `captions` are what pictures are drawn for; of the `open_prompts`, which leave most attributes open, n pictures each
    are drawn for the diversity. `real` pictures of the validation split, as many again to standardise the features.
    """

    def __init__(self, judge: nn.Module, detective: nn.Module, captions: Sequence[str], open_prompts: Sequence[str],
                 n: int, real: int = 600):  # fmt: skip
        self.judge, self.detective, self.n = judge, detective, n
        self.asked = torch.stack([named(text) for text in captions])
        self.open_prompts = list(open_prompts)
        self.features, self.real = yardstick(judge.features, real)

    def varied(self, found: Tensor) -> float:
        """How different the rows found (n, prompts, 6) are for an open prompt, the mean over these (`diversity_of`)."""
        each = [diversity_of(found[:, k], named(text)) for k, text in enumerate(self.open_prompts)]
        return sum(each) / len(each)

    def seen(self, model: TextToPicture, w: float, seed: int = 11, steps: int = 12) -> Tensor:
        """What the judge sees in n pictures of each open prompt, drawn at scale w: (n, prompts, 6)."""
        pictures = (
            model.generate(text, n=self.n, guidance_scale=float(w), steps=steps, seed=seed)
            for text in self.open_prompts
        )
        return torch.stack([predictions(self.judge, x) for x in pictures if x is not None], dim=1)

    def of(self, x: Tensor, z: Tensor, found: Tensor) -> dict[str, Interval]:
        """All six: pictures x (N, 3, H, W), one for each caption, the latents z (N, ...) they are of, and `seen`."""
        right = adherence(self.judge, x, self.asked).mean_all_right
        features = self.features(x)
        return {
            ADHERENCE: (right, *share_interval(right, len(x))),
            DIVERSITY: (self.varied(found), *jackknife_interval(self.varied, found)),
            DISTANCE: (kernel_distance(features, self.real), *kernel_interval(features, self.real)),
            REALNESS: with_interval(realness(self.detective, x)),
            SPREAD: with_interval(z.flatten(1).std(1).cpu()),
            COLOUR: with_interval(vividness(x)),
        }

    def of_real(self, vae: VAE, x: Tensor, draws: int = 50) -> dict[str, float]:
        """What real pictures x (N, 3, H, W) reach, through the VAE and back. Pictures follow no caption, so five numbers.

        Diversity: the mean over `draws` of n real attribute rows that fit each open prompt.
        """
        shown = reconstructed(vae, x)
        latents = in_chunks(vae.to_latent, x[:96], on=device_of(vae))
        return {
            DIVERSITY: sum(map(self.varied, self._real_rows(draws))) / draws,
            DISTANCE: 0.0,
            REALNESS: float(realness(self.detective, shown).mean()),
            SPREAD: float(latents.flatten(1).std(1).mean()),
            COLOUR: float(vividness(shown).mean()),
        }

    def _real_rows(self, draws: int) -> list[Tensor]:
        """As many times, n attribute rows of the data set that fit each open prompt: (n, prompts, 6)."""
        rows, g = sample_attributes(20_000, "val")[0], runtime.generator(3)
        told = torch.stack([named(text) for text in self.open_prompts])
        fitting = [rows[fits] for fits in true_of(rows, told).T]
        return [
            torch.stack([fit[torch.randint(len(fit), (self.n,), generator=g)] for fit in fitting], dim=1)
            for _ in range(draws)
        ]
