"""Does open_clip's own model learn as well in our loop?  `python benchmarks/open_clip_peer.py [--steps 600]`

Trains two CLIPs from the same data with the recipe of notebook 05: the course's class, and `open_clip`'s with
its text transformer, both with the course's convolutional image tower. Prints for each the recall@1 over 512
test captions (equal captions count as right) and the seconds.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
import torch.nn.functional as F
from open_clip.model import CLIP as LibraryCLIP
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from course_utils import losses, runtime
from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation.chunks import in_chunks
from course_utils.images import to_float
from course_utils.models.clip import CLIP, MAX_LOGIT_SCALE, CLIPConfig, ConvTower
from course_utils.models.tokenizer import Tokenizer
from course_utils.training.batches import draw_look_alikes, pictures_at, place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import LOOK_ALIKES, word_groups


def ours(tokenizer: Tokenizer) -> nn.Module:
    return CLIP(tokenizer, CLIPConfig(image_width=128, text_width=64), image=ConvTower(128, channels=24))


def theirs(tokenizer: Tokenizer) -> nn.Module:
    text = CLIPTextCfg(
        context_length=tokenizer.context_length, vocab_size=tokenizer.vocab_size, width=64, heads=4, layers=2,
        pool_type="eos", eos_id=tokenizer.end_id,
    )  # fmt: skip
    model = LibraryCLIP(128, CLIPVisionCfg(image_size=64, patch_size=16, width=64, layers=1), text)
    model.visual = nn.Sequential(ConvTower(128, channels=24), nn.Linear(128, 128, bias=False))
    return model


def train(model: nn.Module, data, tokens: Tensor, groups: list[Tensor], steps: int, batch: int) -> float:
    """Seconds of the training."""

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        i = draw_look_alikes(groups, batch, LOOK_ALIKES, g)
        text = tokens[i, torch.randint(tokens.shape[1], i.shape, generator=g)].to(runtime.device())
        pictures = F.normalize(model.encode_image(pictures_at(data, i)), dim=-1)
        value = losses.contrastive(pictures, F.normalize(model.encode_text(text), dim=-1), model.logit_scale)
        return value, {"loss": value.detach()}

    def clamp() -> None:
        model.logit_scale.data.clamp_(0.0, MAX_LOGIT_SCALE)

    start = time.perf_counter()
    fit(Part(model, loss, lr=3e-3, ema=0.98, weight_decay=0.05, after_step=clamp), steps=steps)
    return time.perf_counter() - start


@torch.no_grad()
def recall_at_1(model: nn.Module, tokenizer: Tokenizer, n: int = 512) -> float:
    test = Plushies(n, "test").in_memory()
    u = in_chunks(lambda x: F.normalize(model.encode_image(x), dim=-1), to_float(test.pictures))
    tokens = tokenizer(list(test.captions)).to(runtime.device())
    c = torch.cat([F.normalize(model.encode_text(part), dim=-1).cpu() for part in tokens.split(256)])
    best = (u @ c.T).argmax(1).tolist()
    return sum(test.captions[j] == test.captions[i] for i, j in enumerate(best)) / n


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--steps", type=int, default=650)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=8000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    print(runtime.setup(), flush=True)
    source = Plushies(asked.pictures, size=CLIP.side)
    data, tokenizer = source.in_memory(), Tokenizer(load("clip").tokenizer.merges, context_length=22)
    captions = [[source.caption(i, k) for k in range(4)] for i in range(len(source))]
    tokens, groups = torch.stack([tokenizer(row) for row in captions]), word_groups([row[0] for row in captions])
    for name, build in (("course_utils", ours), ("open_clip", theirs)):
        torch.manual_seed(asked.seed)
        model = place(build(tokenizer))
        seconds = train(model, data, tokens, groups, asked.steps, asked.batch)
        recall = recall_at_1(model, tokenizer)
        print(f"{name}: {asked.steps} steps in {seconds:.0f} s, recall@1 {recall:.3f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
