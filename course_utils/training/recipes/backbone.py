"""The recipe of the backbone: the eyes of the course's LPIPS."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils import runtime
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.judge import share_right
from course_utils.images import looked_at, to_float
from course_utils.models.classifier import attribute_loss, likeliest
from course_utils.models.perceptual import DEGRADATIONS, Backbone, degrade
from course_utils.training.batches import CROP, draw_crops, held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part


def backbone_part(model: Backbone, data: PlushieTensors, batch: int) -> Part:
    """A backbone to fit: half of a batch is whole pictures at 64 px, the other half crops, whose fur is as coarse as at 128.

    A crop does not show everything that is asked of it, so attributes are asked of whole pictures only.
    """
    half = batch // 2

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = draw_crops(data, batch, g, whole=0.5)
        kinds = torch.randint(0, len(DEGRADATIONS), (len(x),), generator=g)
        logits = model(degrade(x, kinds, g))
        texture = F.cross_entropy(logits.pop("degradation"), kinds.to(x.device))
        named = {name: rows[:half] for name, rows in logits.items()}
        value = attribute_loss(named, data.attributes[index[:half]].to(x.device)) + texture
        return value, {"loss": value.detach(), "texture": texture.detach()}

    return Part(model, loss, lr=1e-3, ema=0.99)


def measured(model: Backbone, n: int, seed: int) -> dict:
    """What it names right in n small pictures, and how many of n large ones' degradations it tells."""
    held, g = held_out(n), runtime.generator(seed)
    x = to_float(held.pictures)
    kinds = torch.randint(0, len(DEGRADATIONS), (n,), generator=g)
    told = in_chunks(lambda part: model(part)["degradation"].argmax(1), degrade(x, kinds, g))
    named = in_chunks(lambda part: likeliest(model(looked_at(part, CROP))), x)
    return {
        "accuracy": share_right(named, held.attributes),
        "degradation": float((told == kinds).float().mean()),
    }


def backbone(budget: Budget, seed: int = 0) -> tuple[Backbone, dict]:
    """SqueezeNet that names attributes and tells how a picture was degraded."""
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), place(Backbone())
    budget.fit(backbone_part(model, data, budget.batch), seed)
    return model, measured(model, budget.held_out, seed + 1)
