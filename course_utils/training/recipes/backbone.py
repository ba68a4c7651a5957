"""The recipe of the backbone: the eyes of the course's LPIPS."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils import runtime
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.judge import share_right
from course_utils.images import to_float
from course_utils.models.classifier import attribute_loss, likeliest
from course_utils.models.perceptual import DEGRADATIONS, Backbone, degrade
from course_utils.training.batches import draw_crops, held_out, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part


def backbone(budget: Budget, seed: int = 0) -> tuple[Backbone, dict]:
    """SqueezeNet that names attributes and tells how a picture was degraded.

    Half of a batch is whole pictures at 64 px, the other half crops, whose fur is as coarse as at 128. A crop does not show
    everything that is asked of it, so attributes are asked of whole pictures only.
    """
    torch.manual_seed(seed)
    data, model = Plushies(budget.pictures).in_memory(), place(Backbone())
    half = budget.batch // 2

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x, index = draw_crops(data, budget.batch, g, whole=0.5)
        kinds = torch.randint(0, len(DEGRADATIONS), (len(x),), generator=g)
        logits = model(degrade(x, kinds, g))
        texture = F.cross_entropy(logits.pop("degradation"), kinds.to(x.device))
        named = {name: rows[:half] for name, rows in logits.items()}
        value = attribute_loss(named, data.attributes[index[:half]].to(x.device)) + texture
        return value, {"loss": value.detach(), "texture": texture.detach()}

    budget.fit(Part(model, loss, lr=1e-3, ema=0.99), seed)
    held, g = held_out(budget.held_out), runtime.generator(seed + 1)
    x = to_float(held.pictures)
    kinds = torch.randint(0, len(DEGRADATIONS), (len(x),), generator=g)
    told = in_chunks(lambda part: model(part)["degradation"].argmax(1), degrade(x, kinds, g))
    return model, {
        "accuracy": share_right(in_chunks(lambda part: likeliest(model(part)), x), held.attributes),
        "degradation": float((told == kinds).float().mean()),
    }
