"""The recipe of the judge, which evaluation trusts."""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.evaluation.judge import accuracy
from course_utils.images import to_float
from course_utils.models.classifier import Judge, attribute_loss
from course_utils.models.perceptual import DEGRADATIONS, degrade
from course_utils.training.batches import draw, held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part

BLUR, NOISE = DEGRADATIONS.index("blur"), DEGRADATIONS.index("noise")


def judge_part(model: Judge, data: PlushieTensors, batch: int) -> Part:
    """A judge to fit, on pictures that are sharp, blurred up to three times, or noisy."""

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = draw(data, batch, g)
        blurs, noisy = torch.randint(0, 4, (len(x),), generator=g), torch.rand(len(x), generator=g) < 0.3
        for k in range(3):
            x = degrade(x, BLUR * (blurs > k), g)
        x = degrade(x, NOISE * noisy, g)
        value = attribute_loss(model(x), data.attributes[index].to(x.device))
        return value, {"loss": value.detach()}

    return Part(model, loss, lr=2e-3, ema=0.995, weight_decay=0.05)


def judge(budget: Budget, seed: int = 0) -> tuple[Judge, dict]:
    """The attribute classifier that evaluation trusts.

    It sees pictures that are sharp, blurred up to three times, or noisy, so that it judges what is shown and not how
    crisply. Unlike all other models it also sees the held-out combinations (other pictures of them than evaluation
    uses): its own blind spots must not look like those of a generator.
    """
    torch.manual_seed(seed)
    model = place(Judge())
    common = Plushies(budget.pictures, size=Judge.side).in_memory()
    rare = Plushies(budget.pictures // 8, "heldout", Judge.side, seed=seed + 1).in_memory()
    data = PlushieTensors(
        torch.cat([common.pictures, rare.pictures]),
        torch.cat([common.attributes, rare.attributes]),
        common.captions + rare.captions,
    )

    budget.fit(judge_part(model, data, budget.batch), seed)

    def right(n: int, split: str) -> dict[str, float]:
        held = held_out(n, split, Judge.side)
        return accuracy(model, to_float(held.pictures), held.attributes)

    return model, {
        "accuracy": right(budget.held_out, "val"),
        "accuracy_heldout": right(budget.held_out // 2, "heldout"),
    }
