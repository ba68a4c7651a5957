"""The second edition's stack, before the course changes over to it: `python benchmarks/second.py [STAGE ...]`

Trains the VAE (f = 8, 4 channels, on crops), CLIP, the judge and the denoiser that are to draw at 128 px, and measures
them. Pictures, latents and interrupted runs lie in `.cache/second` (`COURSE_CACHE` moves it); finished weights in
data/second, numbers in data/results/second.json. A stage whose result is there is skipped, so deleting a result trains
it again. No notebook uses these models yet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import torch
from grid import CROP, SIDE, CropVAE, sheet_of, small
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from course_utils import losses, runtime
from course_utils.checkpoints import load
from course_utils.datasets.captions import full_caption, named
from course_utils.datasets.plushies import Plushies
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
from course_utils.models.classifier import Judge, attribute_loss
from course_utils.models.clip import CLIP
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.perceptual import DEGRADATIONS, degrade
from course_utils.training import state
from course_utils.training.batches import place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import CAPTION_VARIANTS
from course_utils.training.recipes.denoiser import denoiser_loss
from course_utils.training.recipes.vae import KL_WEIGHT

PICTURES = {"train": 32_000, "heldout": 3_000, "test": 2_048, "val": 1_024}
STEPS = {"vae": 5_500, "clip": 600, "judge": 700, "denoiser": 2_800}
CAPTIONS, PROMPTS, SAMPLES = 256, 8, 16
JUDGED = 1_000  # held-out pictures that the judge is tested on; it learns from the others
SCALES = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0)
SAMPLER_STEPS = 16
GROUP, RARE = 16, 0.25
DENOISER = DenoiserConfig(width=256, depth=4, heads=4, patch=4, channels=4, side=16)


def cached(name: str) -> Path:
    folder = runtime.cache_dir() / "second"
    folder.mkdir(exist_ok=True)
    return folder / name


def shipped(name: str) -> Path:
    folder = runtime.data_dir() / "second"
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.safetensors"


def keep(file: Path, tensors: dict[str, Tensor]) -> None:
    """Write a file that is there as a whole or not at all."""
    partial = file.with_suffix(".partial")
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, partial)
    partial.replace(file)


def keep_model(name: str, model: nn.Module) -> None:
    """Weights as float16, as the course's checkpoints hold them."""
    keep(shipped(name), {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()})


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
    made = fresh[name]()
    made.load_state_dict(load_file(shipped(name)))
    return place(made).eval().requires_grad_(False)


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
        keep(cached(f"{split}64.safetensors"), {"x": to_uint8(in_chunks(lambda part: small(to_float(part)), x))})
        keep(cached(f"{split}.safetensors"), {"x": x})


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

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        x = some(g)
        posterior = vae.encode(x)
        reconstruction = losses.reconstruction(x, vae.decode(posterior.sample(g))).mean()
        kl = posterior.kl().mean()
        value = (reconstruction + KL_WEIGHT * kl) / x[0].numel()
        return value, {"loss": value.detach(), "reconstruction": reconstruction.detach(), "kl": kl.detach()}

    train("vae", Part(vae, loss, lr=2e-3, ema=0.999, weight_decay=0.0))
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
    return [torch.tensor(rows) for rows in both if len(rows) >= GROUP]


def clip_stage() -> None:
    """The first edition's CLIP, which knows the captions, goes on with the new pictures."""
    source, x = Plushies(PICTURES["train"]), kept("train64")
    captions = [[source.caption(i, k) for k in range(CAPTION_VARIANTS)] for i in range(len(source))]
    torch.manual_seed(0)
    towers = place(load("clip").train().requires_grad_(True))
    assert isinstance(towers, CLIP)
    tokens = torch.stack([towers.tokenizer(row) for row in captions])
    groups = word_groups([row[0] for row in captions])

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        picked = torch.randint(len(groups), (12,), generator=g).tolist()
        index = torch.cat([groups[k][torch.randperm(len(groups[k]), generator=g)[:GROUP]] for k in picked])
        pictures = to_float(x[index]).contiguous(memory_format=torch.channels_last)
        text = tokens[index, torch.randint(CAPTION_VARIANTS, (len(index),), generator=g)]
        value = losses.contrastive(towers.encode_image(pictures), towers.encode_text(text), towers.logit_scale)
        return value, {"loss": value.detach(), "scale": towers.logit_scale.detach().exp()}

    train("clip", Part(towers, loss, lr=1e-3, ema=0.995, weight_decay=0.05, after_step=towers.clamp_scale))


def judge_stage() -> None:
    """As the course's recipe: sharp, blurred or noisy pictures, held-out combinations among them."""
    x = torch.cat([kept("train64")[:16_000], kept("heldout64")[JUDGED:]])
    a = torch.cat([Plushies(16_000).attributes, Plushies(PICTURES["heldout"], "heldout").attributes[JUDGED:]])
    blur, noise = DEGRADATIONS.index("blur"), DEGRADATIONS.index("noise")
    torch.manual_seed(0)
    judge = place(Judge())

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        index = torch.randint(len(x), (96,), generator=g)
        part = to_float(x[index]).contiguous(memory_format=torch.channels_last)
        blurs, noisy = torch.randint(0, 4, (len(part),), generator=g), torch.rand(len(part), generator=g) < 0.3
        for k in range(3):
            part = degrade(part, blur * (blurs > k), g)
        value = attribute_loss(judge(degrade(part, noise * noisy, g)), a[index])
        return value, {"loss": value.detach()}

    train("judge", Part(judge, loss, lr=2e-3, ema=0.995, weight_decay=0.05))


def latents_stage() -> None:
    """Latents and, for each, four captions' embeddings and twice the picture's own."""
    vae, towers, source = model("vae"), model("clip"), Plushies(PICTURES["train"])
    captions = [source.caption(i, k) for i in range(len(source)) for k in range(CAPTION_VARIANTS)]
    with torch.no_grad():
        text = torch.cat([towers.encode_text(captions[i : i + 4096]) for i in range(0, len(captions), 4096)])
    own = in_chunks(lambda part: towers.encode_image(to_float(part)), kept("train64"))[:, None].expand(-1, 2, -1)
    conditions = torch.cat([text.view(len(source), CAPTION_VARIANTS, -1), own], dim=1)
    keep(cached("conditions.safetensors"), {"x": conditions})
    latents = in_chunks(lambda part: vae.to_latent(to_float(part)), kept("train"), size=64)
    keep(cached("latents.safetensors"), {"x": latents})


def denoiser_stage() -> None:
    latents, conditions = kept("latents"), kept("conditions")
    torch.manual_seed(0)
    denoiser = Denoiser(DENOISER)

    def loss(g: torch.Generator) -> tuple[Tensor, dict]:
        value = denoiser_loss(denoiser, latents, conditions, 256, g)
        return value, {"loss": value.detach()}

    train("denoiser", Part(denoiser, loss, lr=1.2e-3, ema=0.9995, weight_decay=0.0))


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
            print("  " + json.dumps({k: v for k, v in row.items()}), flush=True)
            rows.append(row)
        return {"captions": CAPTIONS, "sampler_steps": SAMPLER_STEPS, "steps": STEPS["denoiser"], "by_w": rows}


def measure_stage() -> None:
    """Of everything that there is; what the results hold already stays."""
    out = runtime.data_dir() / "results" / "second.json"
    results = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    measure = Measure()
    parts = {"judge": measure.judge_part, "vae": measure.vae_part, "clip": measure.clip_part}
    for name, part in {**parts, "denoiser": measure.denoiser_part}.items():
        if name not in results and shipped(name).exists():
            print(name, flush=True)
            results[name] = json.loads(json.dumps(part()), parse_float=lambda digits: float(f"{float(digits):.4g}"))
            out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


STAGES: dict[str, tuple[Callable[[], None], Callable[[], Path]]] = {
    "pictures": (pictures_stage, lambda: cached("val.safetensors")),
    "vae": (vae_stage, lambda: shipped("vae")),
    "clip": (clip_stage, lambda: shipped("clip")),
    "judge": (judge_stage, lambda: shipped("judge")),
    "latents": (latents_stage, lambda: cached("latents.safetensors")),
    "denoiser": (denoiser_stage, lambda: shipped("denoiser")),
    "measure": (measure_stage, lambda: cached("never")),
}
"""What each stage does, and the file that says that it is done."""


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("stages", nargs="*", default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.stages if name not in STAGES]:
        parser.error(f"stage: got {unknown[0]!r}; expected one of {', '.join(STAGES)}")
    print(runtime.setup(), flush=True)
    for name in asked.stages:
        stage, result = STAGES[name]
        if not result().exists():
            stage()
    return 0


if __name__ == "__main__":
    sys.exit(main())
