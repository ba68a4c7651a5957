"""Latents against pixels, for longer than a notebook can.  `python benchmarks/pixel_duel.py --minutes 60`

Two transformers of one size learn to draw the same 64-px pictures for as many processor minutes each: one in the latents of
the course's VAE (8×8×4, cut into 16 patches), the other in pixels (64×64×3, cut into 64 patches, naming the picture and not
the velocity). Both train on rectified flow with the same batch, learning rate, captions and seeds. The numbers go to
data/results/pixel_duel.json, each share and distance with its 95 % interval.

Minutes are the processor's on one thread, so that they mean the same on a busy machine: set `OMP_NUM_THREADS=1`. What a step
costs is measured first, so that the learning rate can fall to zero in time. A stopped run goes on with the same command; what
it keeps lies in `.cache/pixel_duel` (`COURSE_CACHE` moves it).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from course_utils import runtime
from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.evaluation.chunks import in_chunks
from course_utils.evaluation.reports import Scores, rounded
from course_utils.images import to_float
from course_utils.models.denoiser import Denoiser, DenoiserConfig, PictureDenoiser
from course_utils.models.pixels import Pixels
from course_utils.training import state
from course_utils.training.batches import place
from course_utils.training.loop import Part, fit
from course_utils.training.recipes.clip import captions_embedded
from course_utils.training.recipes.denoiser import denoiser_part

SIDE, PICTURES, BATCH, RATE = 64, 8_000, 128, 1e-3
SCALES, STEPS, CHUNK = (1.0, 2.0, 3.0, 5.0, 8.0), 20, 64
TRIES = 8  # steps that are timed, after as many that warm up
SHAPE = {"width": 256, "depth": 4, "heads": 8}


@dataclass(frozen=True)
class Arm:
    """A denoiser of the duel, and what turns pictures into what it draws."""

    kind: type[Denoiser]
    config: DenoiserConfig
    codec: Callable[[Tensor], object]  # of the training pictures, uint8

    def fresh(self) -> Denoiser:
        torch.manual_seed(0)
        return place(self.kind(self.config))


ARMS = {
    "latents": Arm(Denoiser, DenoiserConfig(**SHAPE, patch=2, channels=4, side=SIDE // 8), lambda _: load("vae")),
    "pixels": Arm(
        PictureDenoiser, DenoiserConfig(**SHAPE, patch=8, channels=3, side=SIDE), lambda x: Pixels(to_float(x[:2048]))
    ),
}


def seconds_per_step(part: Part) -> float:
    """Processor seconds of a forward and a backward pass, after some that warm up. Weights stay as they are."""
    generator = runtime.generator(0)
    for i in range(2 * TRIES):
        if i == TRIES:
            start = time.process_time()
        loss, _ = part.loss(generator)
        loss.backward()
    part.module.zero_grad(set_to_none=True)
    return (time.process_time() - start) / TRIES


class Duel:
    """The data that both arms share, and the folder in which a run is kept."""

    def __init__(self, minutes: float, captions: int, pictures: int):
        self.minutes, self.captions = minutes, captions
        self.folder = runtime.cache_dir() / "pixel_duel" / f"{minutes:g}-minutes-{pictures}-pictures"
        self.folder.mkdir(parents=True, exist_ok=True)
        source = Plushies(pictures, size=SIDE)
        self.pictures = source.in_memory().pictures
        self.clip = load("clip")
        self.conditions = captions_embedded(source, self.clip)
        self.scores = Scores(captions, SIDE)

    def note(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def train(self, name: str) -> tuple[Denoiser, object, dict]:
        """The arm, its codec, and what its training took; from the folder, if it was trained before."""
        arm, weights = ARMS[name], self.folder / f"{name}.safetensors"
        model, codec = arm.fresh(), arm.codec(self.pictures)
        if not weights.exists():
            z = in_chunks(lambda x: codec.to_latent(to_float(x)), self.pictures)
            part = denoiser_part(model, z, self.conditions, BATCH)
            part.lr = RATE
            if not self.note(name).exists():
                cost = seconds_per_step(part)
                plan = {"steps": max(1, round(60 * self.minutes / cost)), "seconds_per_step": cost, "seconds": 0.0}
                self.note(name).write_text(json.dumps(plan), encoding="utf-8")
            self.fit(name, part)
            save_file({k: v.contiguous() for k, v in model.state_dict().items()}, weights)
            state.remove(self.folder / f"{name}-state")
        model.load_state_dict(load_file(weights))
        return model.eval().requires_grad_(False), codec, json.loads(self.note(name).read_text(encoding="utf-8"))

    def fit(self, name: str, part: Part) -> None:
        plan = json.loads(self.note(name).read_text(encoding="utf-8"))
        before, start = plan["seconds"], time.process_time()

        def say(step: int, total: int, logs: dict, preview=None) -> None:
            plan["seconds"] = before + time.process_time() - start
            self.note(name).write_text(json.dumps(plan), encoding="utf-8")
            print(f"{name} {step}/{total} loss {logs['loss']:.4f}, {plan['seconds']:.0f} s", flush=True)

        fit(part, steps=plan["steps"], log_every=50, save_every=50, progress=say, state=self.folder / f"{name}-state")

    def arm(self, name: str) -> dict:
        model, codec, plan = self.train(name)
        pipeline, by_w = TextToPicture(codec, self.clip, model, RectifiedFlow()), []
        with torch.no_grad():
            c = self.clip.encode_text(self.scores.texts)
        for w in SCALES:
            parts = [
                pipeline.generate(part, guidance_scale=w, steps=STEPS, seed=k).cpu()
                for k, part in enumerate(c.split(CHUNK))
            ]
            by_w.append({"w": w, **self.scores(torch.cat(parts))})
            print(name, json.dumps(by_w[-1]), flush=True)
        return {
            "weights": sum(p.numel() for p in model.parameters()),
            "tokens": (model.config.side // model.config.patch) ** 2,
            **plan,
            "samples": plan["steps"] * BATCH,
            "by_w": by_w,
        }

    def results(self) -> dict:
        vae = load("vae")
        about = {
            "minutes": self.minutes,
            "captions": self.captions,
            "pictures": len(self.pictures),
            "batch": BATCH,
            "rate": RATE,
        }
        rebuilt = in_chunks(lambda x: vae.to_picture(vae.to_latent(x)), self.scores.pictures)
        floors = {"real": self.scores(self.scores.pictures), "through_the_vae": self.scores(rebuilt)}
        return {"about": {**about, **SHAPE, "steps": STEPS}, **floors, "arms": {name: self.arm(name) for name in ARMS}}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the processor, for each arm")
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=PICTURES, help="to train on")
    parser.add_argument("--out", type=Path, default=runtime.data_dir() / "results" / "pixel_duel.json")
    asked = parser.parse_args(arguments)
    if not 0 < asked.minutes < float("inf") or asked.captions < 3 or asked.pictures < 1:
        parser.error("expected --minutes above 0, --captions of 3 or more, and --pictures of 1 or more")
    print(runtime.setup(), flush=True)
    found = rounded(Duel(asked.minutes, asked.captions, asked.pictures).results())
    asked.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
