"""Which grid of latents learns fastest?  `python benchmarks/grid.py [STAGE ...]`

Compares f = 8 with 4 channels and f = 16 with 16 channels, which are as many numbers, with 64 and with 16 tokens each,
at 128 px: first their VAEs, then denoisers with equal processor time. The numbers go to
data/results/grid.json; what the stages make lies in `.cache/grid` (`COURSE_CACHE` moves it), and a stage whose file is
there is skipped. An interrupted one goes on where it was.

Budgets are seconds of two cores, counted as twice as many seconds of the processor on one thread, so that they mean the
same on a busy machine: set `OMP_NUM_THREADS=1`. Several stages may run side by side.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from course_utils import runtime
from course_utils.checkpoints import load
from course_utils.datasets.captions import named
from course_utils.datasets.drawing import render
from course_utils.datasets.plushies import Plushies, PlushieTensors
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.intervals import share_interval
from course_utils.evaluation.judge import accuracy, adherence
from course_utils.evaluation.kernel import StandardFeatures, kernel_distance
from course_utils.evaluation.metrics import psnr
from course_utils.images import looked_at, to_float, to_uint8
from course_utils.models.autoencoder import Autoencoder, down, up
from course_utils.models.classifier import Judge
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import state
from course_utils.training.batches import place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import captions_embedded
from course_utils.training.recipes.denoiser import denoiser_part
from course_utils.training.recipes.judge import judge_part
from course_utils.training.recipes.vae import KL_WEIGHT, vae_part

SIDE, CROP = 128, 64
PICTURES = {"train": 12_000, "heldout": 1_000, "test": 1_024, "val": 1_024}
CAPTIONS, SHEET = 256, 32
SCALES = (1.0, 2.0, 3.0, 5.0, 8.0)
CHANNELS = {8: 4, 16: 16}
WIDTHS = {8: (32, 64, 128), 16: (32, 64, 128, 256)}  # channels at a half, a quarter, ... of the picture's side
# Seconds of two cores. With the time of f8, f16 blurs so much that it would decide the denoisers' comparison.
SECONDS = {"judge": 100.0, "vae8": 200.0, "vae16": 350.0}


@dataclass(frozen=True)
class Arm:
    """A denoiser of the comparison: on which latents, how they are cut into patches, its sizes and its budget."""

    f: int
    patch: int
    batch: int
    width: int = 160
    depth: int = 4
    heads: int = 4
    seconds: float = 180.0

    @property
    def tokens(self) -> int:
        return (SIDE // self.f // self.patch) ** 2

    @property
    def work(self) -> tuple:
        """What a step's cost depends on."""
        return self.tokens, self.batch, self.width, self.depth, self.heads

    def fresh(self) -> Denoiser:
        torch.manual_seed(0)
        side, channels = SIDE // self.f, CHANNELS[self.f]
        return Denoiser(DenoiserConfig(self.width, self.depth, self.heads, self.patch, channels, side))


ARMS = {
    "f8-patch2": Arm(8, 2, batch=48),
    "f8-patch4": Arm(8, 4, batch=128),
    "f16-patch1": Arm(16, 1, batch=48),
    "f16-patch2": Arm(16, 2, batch=128),
}


class CropVAE(Autoencoder):
    """The course's VAE for any f = 2ⁿ and as many channels as make the same number of numbers."""

    def __init__(self, f: int):
        torch.manual_seed(0)
        widths, channels = WIDTHS[f], CHANNELS[f]
        encoder = nn.Sequential(*down(widths), nn.Conv2d(widths[-1], 2 * channels, 3, padding=1))
        decoder = nn.Sequential(nn.Conv2d(channels, widths[-1], 3, padding=1), *up(widths))
        super().__init__(encoder, decoder, channels)
        self.factor = f


def path(name: str) -> Path:
    folder = runtime.cache_dir() / "grid"
    folder.mkdir(exist_ok=True)
    return folder / name


def keep(name: str, tensors: dict[str, Tensor]) -> None:
    """Write a file that is there as a whole or not at all."""
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, path(f"{name}.partial"))
    path(f"{name}.partial").replace(path(f"{name}.safetensors"))


def kept(name: str) -> Tensor:
    return load_file(path(f"{name}.safetensors"))["x"]


def kept_model(name: str, model: nn.Module) -> nn.Module:
    model.load_state_dict(load_file(path(f"{name}.safetensors")))
    return place(model).eval().requires_grad_(False)


def seconds_per_step(fresh: Callable[[], Part], steps: int = 20) -> float:
    """Processor seconds of a training step, optimiser and all, after a few steps that warm up."""
    at: list[float] = []
    fit(fresh(), steps=steps, log_every=steps // 4, progress=lambda *_, **__: at.append(time.process_time()))
    return (at[-1] - at[0]) / (steps - steps // 4)


def steps_of(name: str, seconds: float, cost: Callable[[], float]) -> int:
    """How many steps of a cost fit into seconds of two cores. An interrupted run goes on with the steps that it had."""
    file = path(f"{name}.steps.json")
    if not file.exists():
        file.write_text(json.dumps(int(2 * seconds / cost())))
    return json.loads(file.read_text())


def train(name: str, part: Part, steps: int) -> nn.Module:
    def say(step: int, total: int, logs: dict, preview=None) -> None:
        numbers = " ".join(f"{k} {v:.4g}" for k, v in logs.items())
        print(f"{name} {step}/{total} {numbers}, {time.process_time():.0f} s of the processor", flush=True)

    fit(part, steps=steps, log_every=50, progress=say, state=path(f"{name}.state"))
    state.remove(path(f"{name}.state"))
    return part.module


def pictures_stage(split: str) -> None:
    source = Plushies(PICTURES[split], split)
    keep(split, {"x": render(source.attributes, source.seeds, SIDE)})


def judge_stage() -> None:
    """As the course's recipe: sharp, blurred or noisy pictures, held-out combinations among them."""
    pools = ("train", "heldout")
    x = torch.cat([to_uint8(in_chunks(lambda x: looked_at(to_float(x), Judge.side), kept(split))) for split in pools])
    data = PlushieTensors(x, torch.cat([Plushies(PICTURES[split], split).attributes for split in pools]), [])

    def fresh() -> Part:
        torch.manual_seed(0)
        return judge_part(place(Judge()), data, 96)

    steps = steps_of("judge", SECONDS["judge"], partial(seconds_per_step, fresh))
    keep("judge", train("judge", fresh(), steps).state_dict())


def vae_stage(f: int) -> None:
    """Trained on 64-px crops, four of each picture."""
    whole, g, name = kept("train"), runtime.generator(0), f"vae{f}"
    corners = torch.randint(0, SIDE - CROP + 1, (4 * len(whole), 2), generator=g).tolist()
    crops = torch.stack([whole[i // 4, :, y : y + CROP, x : x + CROP] for i, (y, x) in enumerate(corners)])
    data = PlushieTensors(crops, torch.empty(0), [])

    def fresh() -> Part:
        return vae_part(place(CropVAE(f)), data, 16, KL_WEIGHT)

    steps = steps_of(name, SECONDS[name], partial(seconds_per_step, fresh))
    model = train(name, fresh(), steps)
    model.measure_latents(whole[:2048])
    keep(name, model.state_dict())


def latents_stage(f: int) -> None:
    vae = kept_model(f"vae{f}", CropVAE(f))
    keep(f"latents{f}", {"x": in_chunks(lambda x: vae.to_latent(to_float(x)), kept("train"))})


def conditions_stage() -> None:
    """The captions' embeddings by the course's text tower, (N, variants, D)."""
    source, tower = Plushies(PICTURES["train"]), load("clip")
    keep("conditions", {"x": captions_embedded(source, tower)})


def arm_part(arm: Arm) -> Part:
    return denoiser_part(arm.fresh(), kept(f"latents{arm.f}"), kept("conditions"), arm.batch)


def rates_stage() -> None:
    """Steps of each arm. The cost is that of the least disturbed of several turns; arms of equal work take equally many."""
    turns: dict[tuple, list[float]] = {}
    for _ in range(3):
        for arm in ARMS.values():
            turns.setdefault(arm.work, []).append(seconds_per_step(partial(arm_part, arm)))
    for name, arm in ARMS.items():
        steps_of(name, arm.seconds, partial(min, turns[arm.work]))
    path("rates.json").write_text(json.dumps({name: turns[arm.work] for name, arm in ARMS.items()}))


def arm_stage(name: str) -> None:
    keep(name, train(name, arm_part(ARMS[name]), json.loads(path(f"{name}.steps.json").read_text())).state_dict())


def sheet(name: str, pictures: Tensor, columns: int = 8) -> None:
    """Pictures (N, 3, H, W) in rows, as a PNG."""
    rows = to_uint8(pictures).unflatten(0, (-1, columns)).permute(0, 3, 1, 4, 2)
    Image.fromarray(rows.reshape(-1, columns * SIDE, 3).numpy()).save(path(f"{name}.png"))


class Measure:
    """What the judge says of real pictures, of reconstructions and of generated ones."""

    def __init__(self) -> None:
        source = Plushies(PICTURES["test"], "test")
        self.x, self.attributes = to_float(kept("test")), source.attributes
        self.captions = [source.caption(i) for i in range(CAPTIONS)]
        self.judge, self.clip = kept_model("judge", Judge()), load("clip")
        real = to_float(kept("val"))
        self.features = StandardFeatures(self.judge.features, real)
        self.reference = self.features(real)

    def follows(self, x: Tensor) -> dict:
        """How well a picture of each caption follows it, and how far all of them are from real pictures."""
        found = adherence(self.judge, x, torch.stack([named(text) for text in self.captions]))
        right, distance = found.mean_all_right, kernel_distance(self.features(x), self.reference)
        numbers = {"all_right": right, "interval": share_interval(right, CAPTIONS), "kernel_distance": distance}
        print("  " + json.dumps(numbers), flush=True)
        return {**numbers, "each": found.per_attribute}

    def real(self) -> dict:
        """Other real pictures against the reference, as many at a time as are generated."""
        sheet("real", self.x[:SHEET])
        others = self.features(self.x).split(CAPTIONS)
        return {
            "judge": accuracy(self.judge, self.x, self.attributes),
            **self.follows(self.x[:CAPTIONS]),
            "kernel_distance": [kernel_distance(part, self.reference) for part in others],
        }

    def reconstruction(self, f: int) -> dict:
        vae = kept_model(f"vae{f}", CropVAE(f))
        x_hat = in_chunks(lambda part: vae.to_picture(vae.to_latent(part)), self.x, size=64)
        pairs = torch.stack([self.x[:SHEET], x_hat[:SHEET]]).unflatten(1, (-1, 8)).transpose(0, 1)
        sheet(f"vae{f}", pairs.flatten(0, 2))
        return {
            "steps": json.loads(path(f"vae{f}.steps.json").read_text()),
            "psnr": float(psnr(self.x, x_hat).mean()),
            "judge": accuracy(self.judge, x_hat, self.attributes),
            **self.follows(x_hat[:CAPTIONS]),
        }

    def arm(self, name: str) -> dict:
        arm, steps = ARMS[name], json.loads(path(f"{name}.steps.json").read_text())
        vae, denoiser = kept_model(f"vae{arm.f}", CropVAE(arm.f)), kept_model(name, arm.fresh())
        pipeline, rows, drawn = TextToPicture(vae, self.clip, denoiser, RectifiedFlow()), [], {}
        for w in SCALES:
            parts = [self.captions[i : i + 64] for i in range(0, CAPTIONS, 64)]
            x = torch.cat([pipeline.generate(texts, guidance_scale=w, seed=k) for k, texts in enumerate(parts)])
            rows.append({"w": w, **self.follows(x)})
            drawn[w] = x[:SHEET]
        best = max(rows, key=lambda row: row["all_right"])["w"]
        sheet(name, drawn[best])
        sheet(f"{name}-w1", drawn[1.0])
        sizes = {**asdict(arm), "tokens": arm.tokens, "parameters": sum(p.numel() for p in denoiser.parameters())}
        return {**sizes, "steps": steps, "samples": steps * arm.batch, "best_w": best, "by_w": rows}


def measure_stage() -> None:
    """Of everything that there is; what the results hold already stays."""
    measure = Measure()
    tasks: dict[str, Callable[[], dict]] = {"real": measure.real}
    tasks |= {f"vae{f}": partial(measure.reconstruction, f) for f in CHANNELS}
    tasks |= {name: partial(measure.arm, name) for name in ARMS}
    file = runtime.data_dir() / "results" / "grid.json"
    results = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name, task in tasks.items():
        if name not in results and (name == "real" or path(f"{name}.safetensors").exists()):
            print(name, flush=True)
            results[name] = json.loads(json.dumps(task()), parse_float=lambda digits: float(f"{float(digits):.4g}"))
            file.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


STAGES: dict[str, Callable[[], None]] = {
    **{split: partial(pictures_stage, split) for split in PICTURES},
    "judge": judge_stage,
    "vae8": partial(vae_stage, 8),
    "vae16": partial(vae_stage, 16),
    "latents8": partial(latents_stage, 8),
    "latents16": partial(latents_stage, 16),
    "conditions": conditions_stage,
    "rates": rates_stage,
    **{name: partial(arm_stage, name) for name in ARMS},
    "measure": measure_stage,
}


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("stages", nargs="*", default=list(STAGES), metavar="STAGE", help=", ".join(STAGES))
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.stages if name not in STAGES]:
        parser.error(f"stage: got {unknown[0]!r}; expected one of {', '.join(STAGES)}")
    print(f"{runtime.setup()} · {torch.get_num_threads()} threads", flush=True)
    for name in asked.stages:
        if not path(f"{name}.safetensors").exists() and not path(f"{name}.json").exists():
            STAGES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
