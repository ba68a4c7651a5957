"""The recipe of CLIP, two towers that agree on which caption belongs to which picture."""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from course_utils import losses
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.metrics import recall_at_1
from course_utils.images import to_float
from course_utils.models.clip import CLIP
from course_utils.models.tokenizer import Tokenizer
from course_utils.training.batches import draw_look_alikes, held_out, pictures_at, place
from course_utils.training.budget import Budget
from course_utils.training.loop import Part

CAPTION_VARIANTS = 4
LOOK_ALIKES = 16
RARE = 0.25  # in fewer captions than this share stands a word that tells pictures apart


def word_groups(captions: list[str]) -> list[Tensor]:
    """Pictures whose captions share two words that most captions don't have: hard negatives, found without labels."""
    found: dict[str, list[int]] = {}
    for i, text in enumerate(captions):
        for word in dict.fromkeys(text.replace(",", "").split()):  # not a set, whose order differs from run to run
            found.setdefault(word, []).append(i)
    rare = [set(rows) for rows in found.values() if len(rows) < RARE * len(captions)]
    both = (sorted(a & b) for a, b in combinations(rare, 2))
    return [torch.tensor(rows) for rows in both if len(rows) >= LOOK_ALIKES]


def clip_part(model: CLIP, data: PlushieTensors, tokens: Tensor, groups: list[Tensor], batch: int) -> Part:
    """Two towers to fit. tokens (N, variants, L): each picture's captions; groups: pictures that are hard to tell apart."""

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        index = draw_look_alikes(groups, batch, LOOK_ALIKES, g)
        x = pictures_at(data, index)
        variant = torch.randint(tokens.shape[1], (len(x),), generator=g)
        text = tokens[index, variant].to(x.device)
        value = losses.contrastive(model.encode_image(x), model.encode_text(text), model.logit_scale)
        return value, {"loss": value.detach(), "scale": model.logit_scale.detach().exp()}

    return Part(model, loss, lr=1.5e-3, ema=0.995, weight_decay=0.05, after_step=model.clamp_scale)


@torch.no_grad()
def captions_embedded(source: Plushies, towers: CLIP) -> Tensor:
    """What CLIP says of each picture's captions, (N, variants, D)."""
    captions = [source.caption(i, k) for i in range(len(source)) for k in range(CAPTION_VARIANTS)]
    found = [towers.encode_text(captions[i : i + 4096]).cpu() for i in range(0, len(captions), 4096)]
    return torch.cat(found).view(len(source), CAPTION_VARIANTS, -1)


def image_part(model: CLIP, data: PlushieTensors, texts: Tensor, groups: list[Tensor], batch: int) -> Part:
    """The image tower alone, to fit to texts (N, variants, D): each picture's captions, as the text tower embeds them.

    What was built on the texts, such as a denoiser, stays valid. (Zhai et al. 2022, "LiT", lock the tower of pictures
    instead, as there it is the better one.)
    """
    model.requires_grad_(False)
    for part in (model.image, model.image_projection):
        part.requires_grad_(True)

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        index = draw_look_alikes(groups, batch, LOOK_ALIKES, g)
        x = pictures_at(data, index)
        variant = torch.randint(texts.shape[1], (len(x),), generator=g)
        value = losses.contrastive(model.encode_image(x), texts[index, variant].to(x.device), model.logit_scale)
        return value, {"loss": value.detach()}

    return Part(model, loss, lr=1e-3, ema=0.998, weight_decay=0.05)


def clip(budget: Budget, seed: int = 0) -> tuple[CLIP, dict]:
    """Two towers that agree on which caption belongs to which picture; then the image tower alone, for half as long.

    The tokenizer is trained first.

    Batches are made of look-alikes, whose captions share two words. In a batch at random the most obvious words tell
    pictures apart, and the towers are slow to learn the others.
    """
    torch.manual_seed(seed)
    source = Plushies(budget.pictures, size=CLIP.side)
    data = source.in_memory()
    captions = [[source.caption(i, k) for k in range(CAPTION_VARIANTS)] for i in range(len(source))]
    tokenizer = Tokenizer.train((c for row in captions[:4000] for c in row), vocab_size=512, context_length=24)
    tokens = torch.stack([tokenizer(row) for row in captions])  # (N, variants, L)
    model = place(CLIP(tokenizer))
    groups = word_groups([row[0] for row in captions])

    budget.phase("both").fit(clip_part(model, data, tokens, groups, budget.batch), seed)
    texts = captions_embedded(source, model)
    alone = budget.phase("image", steps=max(1, budget.steps // 2))
    alone.fit(image_part(model, data, texts, groups, budget.batch), seed)
    held = held_out(budget.held_out, size=CLIP.side)
    images = in_chunks(lambda x: model.encode_image(to_float(x)), held.pictures)
    with torch.no_grad():
        said = model.encode_text(held.captions).cpu()
    return model, {"recall_at_1": recall_at_1(images, said, held.captions)}
