"""The second edition's stack, before the course changes over to it: `python benchmarks/second.py [STAGE ...]`

Trains the VAE (f = 8, 4 channels, on crops), CLIP, the judge and the denoiser that are to draw at 128 px, and measures
them. Pictures, latents and interrupted runs lie in `.cache/second` (`COURSE_CACHE` moves it); finished weights in
data/second, numbers in data/results/second.json. A stage whose result is there is skipped, so deleting a result trains
it again. No notebook uses these models yet.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from grid import CROP, SIDE, CropVAE, note, run, sheet_of, small, with_weights, write
from safetensors.torch import load_file
from torch import Tensor, nn

from course_utils import runtime
from course_utils.checkpoints import load
from course_utils.datasets.captions import full_caption, named
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.datasets.second.drawing import render
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.intervals import share_interval
from course_utils.evaluation.judge import accuracy, adherence, open_diversity
from course_utils.evaluation.kernel import StandardFeatures, kernel_distance
from course_utils.evaluation.metrics import psnr, recall_at_1
from course_utils.evaluation.zero_shot import zero_shot
from course_utils.images import to_float, to_uint8
from course_utils.models.classifier import Judge
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import state
from course_utils.training.batches import place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import CAPTION_VARIANTS, LOOK_ALIKES, clip_part
from course_utils.training.recipes.denoiser import captions_embedded, denoiser_part
from course_utils.training.recipes.judge import judge_part
from course_utils.training.recipes.vae import KL_WEIGHT, vae_loss

PICTURES = {"train": 32_000, "heldout": 3_000, "test": 2_048, "val": 1_024}
STEPS = {"vae": 5_500, "clip": 600, "judge": 700, "denoiser": 2_800}
CAPTIONS, PROMPTS, SAMPLES = 256, 8, 16
JUDGED = 1_000  # held-out pictures that the judge is tested on; it learns from the others
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0)
SAMPLER_STEPS = 16
RARE = 0.25  # in fewer captions than this share stands a word that tells pictures apart
DENOISER = DenoiserConfig(width=256, depth=4, heads=4, patch=4, channels=4, side=16)


def cached(name: str) -> Path:
    folder = runtime.cache_dir() / "second"
    folder.mkdir(exist_ok=True)
    return folder / name


def shipped(name: str) -> Path:
    folder = runtime.data_dir() / "second"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.safetensors"


def keep_model(name: str, model: nn.Module) -> None:
    """Weights as float16, as the course's checkpoints hold them."""
    write(shipped(name), {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()})


def kept(name: str) -> Tensor:
    return load_file(cached(f"{name}.safetensors"))["x"]


def model(name: str) -> nn.Module:
    """One of the stack's finished models."""
    fresh: dict[str, Callable[[], nn.Module]] = {
        "vae": lambda: CropVAE(8),
        "clip": lambda: load("clip"),  # for its sizes and its tokenizer
        "judge": Judge,
        "denoiser": lambda: Denoiser(DENOISER),
    }
    return with_weights(fresh[name](), shipped(name))


def train(name: str, part: Part) -> nn.Module:
    def say(step: int, total: int, logs: dict, preview=None) -> None:
        print(f"{name} {step}/{total} " + " ".join(f"{k} {v:.4g}" for k, v in logs.items()), flush=True)

    fit(part, steps=STEPS[name], log_every=50, progress=say, state=cached(f"{name}.state"))
    keep_model(name, part.module)
    state.remove(cached(f"{name}.state"))
    return part.module


def pictures_stage() -> None:
    """Each split at 128 px, and brought to 64 by area averaging, as CLIP and the judge look at it."""
    for split, n in PICTURES.items():
        source = Plushies(n, split)
        x = render(source.attributes, source.seeds, SIDE)
        write(cached(f"{split}64.safetensors"), {"x": to_uint8(in_chunks(lambda part: small(to_float(part)), x))})
        write(cached(f"{split}.safetensors"), {"x": x})


def vae_stage() -> None:
    """From 64-px crops, and for a quarter from whole pictures brought to 64 px, which live training uses."""
    whole, batch = kept("train"), 32
    torch.manual_seed(0)
    vae = place(CropVAE(8))

    def some(g: torch.Generator) -> Tensor:
        index = torch.randint(len(whole), (batch,), generator=g)
        ys, xs = torch.randint(0, SIDE - CROP + 1, (2, batch), generator=g)
        places = list(zip(index.tolist(), ys.tolist(), xs.tolist(), strict=True))[batch // 4 :]
        crops = torch.stack([whole[i, :, y : y + CROP, x : x + CROP] for i, y, x in places])
        found = torch.cat([small(to_float(whole[index[: batch // 4]])), to_float(crops)])
        return found.contiguous(memory_format=torch.channels_last)

    train("vae", Part(vae, lambda g: vae_loss(vae, some(g), KL_WEIGHT, g), lr=2e-3, ema=0.999, weight_decay=0.0))
    vae.measure_latents(whole[:2048])
    keep_model("vae", vae)


def word_groups(captions: list[str]) -> list[Tensor]:
    """Pictures whose captions share two words that most captions don't have: hard negatives, found without labels."""
    found: dict[str, list[int]] = {}
    for i, text in enumerate(captions):
        for word in set(text.replace(",", "").split()):
            found.setdefault(word, []).append(i)
    rare = [set(rows) for rows in found.values() if len(rows) < RARE * len(captions)]
    both = (sorted(a & b) for a, b in combinations(rare, 2))
    return [torch.tensor(rows) for rows in both if len(rows) >= LOOK_ALIKES]


def clip_stage() -> None:
    """The first edition's CLIP, which knows the captions, goes on with the new pictures."""
    source = Plushies(PICTURES["train"])
    captions = [[source.caption(i, k) for k in range(CAPTION_VARIANTS)] for i in range(len(source))]
    torch.manual_seed(0)
    towers = place(load("clip").train().requires_grad_(True))
    assert isinstance(towers, CLIP)
    tokens = torch.stack([towers.tokenizer(row) for row in captions])
    data = PlushieTensors(kept("train64"), source.attributes, [])
    groups = word_groups([row[0] for row in captions])
    train("clip", clip_part(towers, data, tokens, groups, 192, lr=1e-3))


def judge_stage() -> None:
    """As the course's recipe: sharp, blurred or noisy pictures, held-out combinations among them."""
    x = torch.cat([kept("train64")[:16_000], kept("heldout64")[JUDGED:]])
    a = torch.cat([Plushies(16_000).attributes, Plushies(PICTURES["heldout"], "heldout").attributes[JUDGED:]])
    torch.manual_seed(0)
    train("judge", judge_part(place(Judge()), PlushieTensors(x, a, []), 96))


def latents_stage() -> None:
    """Latents and, for each, four captions' embeddings and twice the picture's own."""
    vae, towers, source = model("vae"), model("clip"), Plushies(PICTURES["train"])
    own = in_chunks(lambda part: towers.encode_image(to_float(part)), kept("train64"))[:, None].expand(-1, 2, -1)
    conditions = torch.cat([captions_embedded(source, towers), own], dim=1)
    write(cached("conditions.safetensors"), {"x": conditions})
    latents = in_chunks(lambda part: vae.to_latent(to_float(part)), kept("train"), size=64)
    write(cached("latents.safetensors"), {"x": latents})


def denoiser_stage() -> None:
    torch.manual_seed(0)
    train("denoiser", denoiser_part(Denoiser(DENOISER), kept("latents"), kept("conditions"), 256, lr=1.2e-3))


class Measure:
    """What the stack's models do on pictures and captions that none of them has trained on."""

    def __init__(self) -> None:
        self.judge, self.clip, self.vae = model("judge"), model("clip"), model("vae")
        self.source = Plushies(PICTURES["test"], "test")
        self.x = to_float(kept("test"))
        val = to_float(kept("val"))
        self.features = StandardFeatures(lambda part: self.judge.features(small(part)), val)
        self.reference = self.features(val)

    def distance(self, x: Tensor) -> float:
        return kernel_distance(self.features(x), self.reference)

    def judge_part(self) -> dict:
        held = Plushies(PICTURES["heldout"], "heldout").attributes[:JUDGED]
        return {
            "test": accuracy(self.judge, small(self.x), self.source.attributes),
            "heldout": accuracy(self.judge, to_float(kept("heldout64")[:JUDGED]), held),
            "kernel_distance_real": self.distance(self.x[:CAPTIONS]),
        }

    def vae_part(self) -> dict:
        x_hat = in_chunks(lambda part: self.vae.to_picture(self.vae.to_latent(part)), self.x, size=64)
        x64 = to_float(kept("test64"))
        x64_hat = in_chunks(lambda part: self.vae.to_picture(self.vae.to_latent(part)), x64)
        sheet_of(cached("reconstructions.png"), torch.stack([self.x[:24], x_hat[:24]]).transpose(0, 1).flatten(0, 1))
        return {
            "psnr": float(psnr(self.x, x_hat).mean()),
            "psnr_of_64_px_pictures": float(psnr(x64, x64_hat).mean()),
            "judge": accuracy(self.judge, small(x_hat), self.source.attributes),
            "kernel_distance": self.distance(x_hat[:CAPTIONS]),
        }

    @torch.no_grad()
    def clip_part(self) -> dict:
        x = to_float(kept("test64"))
        image = in_chunks(self.clip.encode_image, x)
        captions = [self.source.caption(i) for i in range(512)]
        complete = [full_caption(row) for row in self.source.attributes[:512]]
        return {
            "recall_at_1": recall_at_1(image[:512], self.clip.encode_text(captions).cpu(), captions),
            "recall_at_1_complete": recall_at_1(image[:512], self.clip.encode_text(complete).cpu(), complete),
            "zero_shot": zero_shot(self.clip, x, self.source.attributes),
        }

    def denoiser_part(self) -> dict:
        pipeline = TextToPicture(self.vae, self.clip, model("denoiser"), RectifiedFlow())
        sheet_of(cached("real.png"), self.x[:64])
        texts = {"test": [self.source.caption(i) for i in range(CAPTIONS)]}
        held = Plushies(PICTURES["heldout"], "heldout")
        texts["heldout"] = [held.caption(i) for i in range(CAPTIONS)]
        open_prompts = [t for t in dict.fromkeys(texts["test"]) if bool((named(t)[[0, 1, 2, 4, 5]] < 0).any())]
        rows = []
        for w in SCALES:
            row: dict = {"w": w}
            for split, captions in texts.items():
                parts = [captions[i : i + 64] for i in range(0, CAPTIONS, 64)]
                x = torch.cat(
                    [pipeline.generate(p, guidance_scale=w, steps=SAMPLER_STEPS, seed=k) for k, p in enumerate(parts)]
                )
                found = adherence(self.judge, small(x), torch.stack([named(t) for t in captions]))
                share = found.mean_all_right
                row[split] = {
                    "all_right": share,
                    "interval": share_interval(share, CAPTIONS),
                    "each": found.per_attribute,
                }
                if split == "test":
                    row["kernel_distance"] = self.distance(x)
                    sheet_of(cached(f"w{w:g}.png"), x[:64])
            samples = [
                pipeline.generate(t, n=SAMPLES, guidance_scale=w, steps=SAMPLER_STEPS, seed=99)
                for t in open_prompts[:PROMPTS]
            ]
            found_open = [
                open_diversity(self.judge, small(x), named(t))
                for t, x in zip(open_prompts[:PROMPTS], samples, strict=True)
            ]
            row["open_diversity"] = statistics.mean(found_open)
            print("  " + json.dumps(row), flush=True)
            rows.append(row)
        return {"captions": CAPTIONS, "sampler_steps": SAMPLER_STEPS, "steps": STEPS["denoiser"], "by_w": rows}


def measure_stage() -> None:
    """Of everything that there is; what the results hold already stays."""
    measure = Measure()
    parts = {"judge": measure.judge_part, "vae": measure.vae_part, "clip": measure.clip_part}
    parts["denoiser"] = measure.denoiser_part
    note(
        runtime.data_dir() / "results" / "second.json",
        {name: part for name, part in parts.items() if shipped(name).exists()},
    )


STAGES: dict[str, Callable[[], None]] = {
    "pictures": pictures_stage,
    "vae": vae_stage,
    "clip": clip_stage,
    "judge": judge_stage,
    "latents": latents_stage,
    "denoiser": denoiser_stage,
    "measure": measure_stage,
}


def is_done(name: str) -> bool:
    """Whether a stage's result is there; the validation pictures are the last that the first stage writes."""
    results = {"pictures": cached("val.safetensors"), "latents": cached("latents.safetensors")}
    return results.get(name, shipped(name)).exists()


if __name__ == "__main__":
    sys.exit(run(STAGES, is_done, __doc__, sys.argv[1:]))
