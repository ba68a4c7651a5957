"""Which way of guiding is best?  `python benchmarks/guidance_methods.py [--part tune fronts best]`

Measures every method of `diffusion.guidance_methods` with the course's own checkpoints, and writes
data/results/guidance_methods.json, from which notebook 10 draws:

*tune*: the knobs that some methods have beside w, tried on validation captions. What comes out best is used below.
*fronts*: adherence, diversity, kernel distance and realness of each method at several w, on test captions, all from the
same noise; and how much more diverse a method is than plain CFG where both follow captions equally well, with an
interval from resampling captions and prompts.
*best*: which setting makes most pictures right? Chosen on validation captions, then measured once on test captions
and on held-out combinations.

A part that is not asked for keeps the numbers it had.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_utils import runtime
from course_utils.checkpoints import load, load_pipeline, manifest
from course_utils.datasets.captions import named
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.guidance_methods import APG, DynamicThreshold, LimitedInterval, Rescale, methods
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.samplers import time_grid
from course_utils.evaluation.fronts import leads
from course_utils.evaluation.intervals import mean_interval, share_interval
from course_utils.evaluation.judge import adherence, open_diversity
from course_utils.evaluation.kernel import StandardFeatures, chance_band
from course_utils.evaluation.realness import realness
from course_utils.evaluation.reports import distance, rounded
from course_utils.images import to_float

CHUNK = 96
STEPS = 20
REAL = 2048  # real pictures behind a distance; they are of captions that nothing is drawn for
SCALES = {
    "CFG": (1.0, 1.5, 2.0, 3.0, 5.0, 8.0),
    "interval": (2.0, 3.0, 5.0, 8.0, 12.0),
    "rescale": (2.0, 3.0, 5.0, 8.0, 12.0),
    "dynamic threshold": (2.0, 3.0, 5.0, 8.0, 12.0),
    "CFG++": (0.2, 0.4, 0.6, 0.8, 1.0),
    "APG": (2.0, 4.0, 6.0, 10.0, 15.0),
    "CFG-Zero*": (1.5, 2.0, 3.0, 5.0, 8.0),
    "autoguidance": (1.25, 1.5, 2.0, 3.0, 4.0),
}
"""The w of each method's curve."""

CONDITIONAL_AT_1 = ("interval", "rescale", "APG", "autoguidance")
"""Methods that at w = 1 are CFG at w = 1, the conditional answer: their curves start at that point, measured once."""

KNOBS: dict[str, tuple[type, tuple[dict, ...], tuple[float, ...]]] = {
    "interval": (
        LimitedInterval,
        ({"low": 0.2, "high": 0.8}, {"low": 0.0, "high": 0.7}, {"low": 0.0, "high": 0.9}, {"low": 0.4, "high": 1.0}),
        (3.0, 8.0),
    ),
    "rescale": (Rescale, ({"phi": 0.7}, {"phi": 1.0}), (3.0, 8.0)),
    "dynamic threshold": (DynamicThreshold, ({"limit": 3.0}, {"limit": 2.0}), (3.0, 8.0)),
    "APG": (APG, ({"radius": 2.5}, {"radius": 6.0}, {"radius": None, "momentum": 0.0}), (3.0, 8.0)),
}
"""What is tried for each method: its class, sets of keywords, and the w at which they are compared."""

OPEN = (
    "a bear",
    "a cat",
    "a rabbit",
    "an elephant",
    "a pink cat",
    "a white bear",
    "a blue rabbit",
    "an elephant with a hat",
    "a cat with glasses",
    "a bear on a night background",
    "a rabbit on a mint background",
    "a brown mouse",
)
"""Prompts that leave most attributes open."""

LEVELS = (0.8, 0.85, 0.9, 0.925, 0.95)
"""Shares of captions followed in full, at which diversity is compared."""


class Bench:
    """The models, and what has been asked of all methods alike."""

    def __init__(self):
        self.pipeline, self.judge, self.detective = load_pipeline(), load("judge"), load("realness")
        self.weak = load("weak_denoiser")
        self.path, self.times = RectifiedFlow(), time_grid(STEPS)
        self.methods = methods(self.path, self.times, self.weak)
        self.features = StandardFeatures(self.judge.features, to_float(Plushies(REAL).in_memory().pictures))

    @lru_cache  # noqa: B019 - there is one Bench
    def split(self, name: str, n: int) -> tuple[Tensor, Tensor]:
        """n captions' conditions (n, D), and what they name (n, 6)."""
        source = Plushies(n, name)
        texts = [source.caption(i) for i in range(n)]
        return self.embedded(texts), self.asked(texts)

    @lru_cache  # noqa: B019 - there is one Bench
    def real(self, name: str) -> Tensor:
        """Features of real pictures: of the other validation pictures, or of other held-out combinations than are drawn."""
        return self.features(to_float(Plushies(REAL, name, seed=1).in_memory().pictures))

    @lru_cache  # noqa: B019 - there is one Bench
    def floor(self, name: str, n: int) -> dict:
        """Where 95 % of the distances of n real pictures to other real ones lie."""
        low, high = chance_band(self.real(name), n, REAL - n, draws=200)
        return {"low": low, "high": high}

    def distance(self, pictures: Tensor, name: str) -> dict:
        """How far pictures (n, 3, H, W) are from real ones."""
        return distance(self.features(pictures), self.real(name))

    def real_looking(self, pictures: Tensor) -> dict:
        """The mean realness of pictures, with its interval."""
        scores = realness(self.detective, pictures)
        low, high = mean_interval(scores)
        return {"value": float(scores.mean()), "low": low, "high": high}

    @torch.no_grad()
    def embedded(self, texts: list[str]) -> Tensor:
        return self.pipeline.clip.encode_text(texts)

    def asked(self, texts: list[str]) -> Tensor:
        return torch.stack([named(text) for text in texts])

    def draw(self, conditions: Tensor, w: float, method: Callable, seed: int, **how) -> Tensor:
        """A picture of each condition, in chunks; noise depends on the seed and the place alone."""
        return torch.cat(
            [
                self.pipeline.generate(
                    part, guidance_scale=w, guidance=method, seed=seed + k, **{"steps": STEPS, **how}
                ).cpu()
                for k, part in enumerate(conditions.split(CHUNK))
            ]
        )

    def right(self, split: str, n: int, w: float, method: Callable, **how) -> tuple[np.ndarray, Tensor]:
        """Whether each caption is followed in full, (n,), and the pictures."""
        conditions, asked = self.split(split, n)
        pictures = self.draw(conditions, w, method, seed=10, **how)
        return adherence(self.judge, pictures, asked).all_right.numpy(), pictures

    def spread(self, prompts: tuple[str, ...], samples: int, w: float, method: Callable, seed: int = 50) -> np.ndarray:
        """The diversity of each open prompt, (prompts,)."""
        conditions = self.embedded(list(prompts)).repeat_interleave(samples, 0)
        pictures = self.draw(conditions, w, method, seed=seed)
        rows = zip(prompts, pictures.split(samples), strict=True)
        return np.array([open_diversity(self.judge, x, named(text)) for text, x in rows])

    def bound(self, name: str, knobs: dict) -> Callable:
        """A method with other knobs than its own."""
        needs_path = {"path": self.path} if name in ("dynamic threshold", "APG") else {}
        return partial(KNOBS[name][0], **needs_path, **knobs)


def tune(bench: Bench, asked: argparse.Namespace, _: dict) -> dict:
    """For each method with knobs: the mean over two w of adherence + diversity, on validation captions."""
    n, prompts, result = asked.captions // 2, OPEN[::2], {}
    for name, (_, sets, scales) in KNOBS.items():
        rows = []
        for knobs in sets:
            method = bench.bound(name, knobs)
            each = [
                (
                    float(bench.right("val", n, w, method)[0].mean()),
                    float(bench.spread(prompts, asked.samples, w, method, seed=70).mean()),
                )
                for w in scales
            ]
            rows.append({"knobs": knobs, "points": each, "score": float(np.sum(each, axis=1).mean())})
            points = ", ".join(f"{a:.2f}/{d:.2f}" for a, d in each)
            print(f"  {name} {knobs}: {points} → {rows[-1]['score']:.3f}", flush=True)
        result[name] = {
            "w": scales,
            "tried": rows,
            "chosen": max(rows, key=lambda row: row["score"])["knobs"],
        }
    return result


def fronts(bench: Bench, asked: argparse.Namespace, before: dict) -> dict:
    chosen = {name: row["chosen"] for name, row in before.get("tune", {}).items()}
    used = {name: bench.bound(name, chosen[name]) if name in chosen else m for name, m in bench.methods.items()}
    curves, rights, diversities, start = {}, {}, {}, None
    for name, method in used.items():
        points = [start] if name in CONDITIONAL_AT_1 else []
        for w in SCALES[name]:
            right, pictures = bench.right("test", asked.captions, w, method)
            spread = bench.spread(OPEN, asked.samples, w, method)
            points.append((w, right, spread, bench.distance(pictures, "val"), bench.real_looking(pictures)))
        start = start or points[0]
        rights[name] = np.stack([p[1] for p in points]).astype(float)
        diversities[name] = np.stack([p[2] for p in points])
        curves[name] = {
            "knobs": chosen.get(name, {}),
            "w": [p[0] for p in points],
            "all_right": rights[name].mean(1).tolist(),
            "diversity": diversities[name].mean(1).tolist(),
            "kernel_distance": [p[3]["value"] for p in points],
            "kernel_interval": [(p[3]["low"], p[3]["high"]) for p in points],
            "realness": [p[4]["value"] for p in points],
            "realness_interval": [(p[4]["low"], p[4]["high"]) for p in points],
        }
        line = ", ".join(
            f"w {w:g}: {r.mean():.3f}/{d.mean():.3f}/{k['value']:.3f}/{f['value']:.3f}" for w, r, d, k, f in points
        )
        print(f"  {name}: {line}", flush=True)
    compared = leads(rights, diversities, LEVELS)
    return {
        "captions": asked.captions,
        "prompts": list(OPEN),
        "samples": asked.samples,
        "steps": STEPS,
        "sampler": "euler",
        "real_against_real": bench.floor("val", asked.captions),
        "curves": curves,
        "levels": LEVELS,
        "against_cfg": {m: {k: v.tolist() for k, v in row.items()} for m, row in compared.items()},
    }


def best(bench: Bench, asked: argparse.Namespace, before: dict) -> dict:
    chosen = {name: row["chosen"] for name, row in before.get("tune", {}).items()}
    candidates = [
        ("CFG", 3.0, {}),
        ("CFG", 5.0, {}),
        ("CFG", 8.0, {}),
        ("CFG", 5.0, {"steps": 40}),
        ("CFG", 5.0, {"sampler": "heun"}),
        ("interval", 8.0, {}),
        ("rescale", 8.0, {}),
        ("APG", 10.0, {}),
        ("autoguidance", 2.0, {}),
    ]
    rows = []
    for name, w, how in candidates:
        method = bench.bound(name, chosen[name]) if name in chosen else bench.methods[name]
        right = bench.right("val", asked.captions, w, method, **how)[0]
        row = {"method": name, "w": w, "steps": STEPS, "sampler": "euler", **how, "val": float(right.mean())}
        rows.append((row, method, how))
        print(f"  {name}, w {w:g} {how or ''}: {row['val']:.3f}", flush=True)
    row, method, how = max(rows, key=lambda r: r[0]["val"])
    result = dict(row)
    for split in ("test", "heldout"):
        right, pictures = bench.right(split, asked.final, row["w"], method, **how)
        result[split] = float(right.mean())
        result[f"interval_{split}"] = share_interval(float(right.mean()), asked.final)
        others = "heldout" if split == "heldout" else "val"
        result[f"kernel_distance_{split}"] = bench.distance(pictures, others)
        result[f"real_against_real_{split}"] = bench.floor(others, asked.final)
    print(f"  chosen: {result}", flush=True)
    return {"captions": asked.captions, "final": asked.final, "tried": [r[0] for r in rows], "chosen": result}


PARTS = {"tune": tune, "fronts": fronts, "best": best}


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--captions", type=int, default=192, help="captions behind a point")
    parser.add_argument("--samples", type=int, default=12, help="samples of each open prompt")
    parser.add_argument("--final", type=int, default=512, help="captions behind the best setting's numbers")
    parser.add_argument("--out", type=Path, default=runtime.data_dir() / "results" / "guidance_methods.json")
    asked = parser.parse_args(arguments)
    print(runtime.setup(), flush=True)
    bench = Bench()
    result = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    files = ("denoiser", "weak_denoiser", "vae", "sharp_decoder", "clip", "judge", "realness")
    result["checkpoints"] = {name: manifest()[f"{name}.safetensors"]["sha256"][:16] for name in files}
    for part in asked.part:
        print(f"{part}:", flush=True)
        start = time.perf_counter()
        result[part] = rounded(PARTS[part](bench, asked, result))
        print(f"  {time.perf_counter() - start:.0f} s", flush=True)
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        asked.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
