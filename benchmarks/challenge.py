"""How good are a few forwards?  `python benchmarks/challenge.py [FILE ...] [--captions 1024]`

Scores denoisers by what they draw of test captions in 1, 4 and more forwards: adherence (all named attributes right),
kernel distance to real pictures, realness, and the diversity of what prompts leave open. Without files it measures the
course's own entries, prints their table and writes data/results/few_steps.json, which notebook 11 shows.

FILE: a checkpoint of this course (`.safetensors`): a denoiser (guided, two forwards a step; and without guidance, one) or a
fast adapter of the course's denoiser. Its rows are printed below the course's own from that file, and nothing is written.
A forward is one picture's pass through the denoiser, so guidance with two answers costs two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from course_utils import runtime
from course_utils.checkpoints import CheckpointError, header, load, load_fast_pipeline, load_pipeline
from course_utils.datasets.captions import named
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.diffusion.threaded import on_all_cores
from course_utils.evaluation.intervals import mean_interval, share_interval
from course_utils.evaluation.judge import adherence, open_diversity
from course_utils.evaluation.realness import realness
from course_utils.evaluation.reports import Distances, leaving_open, pictures, rounded

CHUNK, REAL, PROMPTS, SAMPLES = 128, 2048, 16, 12
SCALES = (1.0, 3.0, 4.0, 5.0, 8.0)
FEW = (1.0, 1.5, 2.0, 3.0, 5.0)  # for two guided steps, which a large w ruins
RESULTS = runtime.data_dir() / "results" / "few_steps.json"


@dataclass(frozen=True)
class Entry:
    """A model at a number of steps: who draws, in how many steps of how many forwards, at which scales."""

    name: str
    pipeline: TextToPicture
    steps: int
    forwards: int
    scales: Sequence[float] = SCALES


@lru_cache
def judges() -> tuple[nn.Module, nn.Module, Distances, list[str]]:
    """Judge, realness, the distance to real pictures, and validation captions that leave something open."""
    prompts = leaving_open(pictures(512, "val")[2])[:PROMPTS]
    return load("judge"), load("realness"), Distances(REAL), prompts


def drawn(entry: Entry, captions: list[str], w: float, seed: int) -> Tensor:
    """A picture of each caption; the noise of a caption is the same at every w and for every entry."""
    parts = [captions[i : i + CHUNK] for i in range(0, len(captions), CHUNK)]
    return torch.cat(
        [
            entry.pipeline.generate(part, guidance_scale=w, steps=entry.steps, seed=seed + i).cpu()
            for i, part in enumerate(parts)
        ]
    )


def score(entry: Entry, w: float, captions: int) -> dict:
    """What an entry draws at w, by all four measures, each with its 95 % interval."""
    (_, _, texts), (judge, critic, distances, prompts) = pictures(captions), judges()
    x = drawn(entry, texts, w, seed=1)
    found = adherence(judge, x, torch.stack([named(text) for text in texts]))
    distance, looks = distances.of(x), realness(critic, x)
    samples = drawn(entry, [text for text in prompts for _ in range(SAMPLES)], w, seed=10_001)
    open_to = torch.tensor(
        [open_diversity(judge, some, named(text)) for some, text in zip(samples.split(SAMPLES), prompts, strict=True)]
    )
    return {
        "w": w,
        "all_right": found.mean_all_right,
        "all_right_interval": share_interval(found.mean_all_right, int((found.asked > 0).sum())),
        "kernel_distance": distance["value"],
        "kernel_interval": (distance["low"], distance["high"]),
        "realness": float(looks.mean()),
        "realness_interval": mean_interval(looks),
        "diversity": statistics.mean(open_to.tolist()),
        "diversity_interval": mean_interval(open_to),
    }


def own_entries() -> list[Entry]:
    """The course's: its denoiser with guidance and without, and what was distilled from it."""
    pipeline = load_pipeline()
    guided, fast = on_all_cores(pipeline), on_all_cores(load_fast_pipeline(pipeline))
    return [
        Entry("teacher", guided, 16, 32),
        Entry("teacher", guided, 2, 4, FEW),
        Entry("teacher, no guidance", guided, 4, 4, (1.0,)),
        *(Entry("student", fast, steps, steps) for steps in (4, 2, 1)),
    ]


def entries_of(file: Path) -> list[Entry]:
    """What a checkpoint can do in 4 forwards and in 1. ValueError for one that is no denoiser."""
    kind = header(file)["model"]
    if kind == "fast_adapter":
        fast = on_all_cores(load_fast_pipeline(adapter=file))
        return [Entry(file.stem, fast, steps, steps) for steps in (4, 1)]
    if not kind.endswith("denoiser"):
        raise ValueError(
            f"{file}: a checkpoint of {kind}; expected a denoiser that predicts velocities, or a fast_adapter"
        )
    pipeline = load_pipeline()
    pipeline.denoiser = load(file)
    plain = on_all_cores(pipeline)
    unguided = [Entry(f"{file.stem}, w = 1", plain, steps, steps, (1.0,)) for steps in (4, 1)]
    return [Entry(f"{file.stem}, guided", plain, 2, 4, FEW), *unguided]


def measured(entry: Entry, captions: int) -> dict:
    """An entry at all of its scales."""
    start, rows = time.perf_counter(), [score(entry, w, captions) for w in entry.scales]
    print(f"{entry.name}, {entry.steps} steps: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return {"name": entry.name, "steps": entry.steps, "forwards": entry.forwards, "by_w": rows}


def table(entries: Sequence[dict]) -> str:
    """Each entry at the w at which it makes most captions right, fewest forwards first."""
    lines = [
        "| entry | steps | forwards | w | all right | kernel distance | realness | diversity |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in sorted(entries, key=lambda entry: entry["forwards"]):
        best = max(entry["by_w"], key=lambda row: row["all_right"])
        cells = [
            f"{best[name]:.3f} ({low:.3f} to {high:.3f})"
            for name, interval in (
                ("all_right", "all_right_interval"),
                ("kernel_distance", "kernel_interval"),
                ("realness", "realness_interval"),
                ("diversity", "diversity_interval"),
            )
            for low, high in [best[interval]]
        ]
        head = f"| {entry['name']} | {entry['steps']} | {entry['forwards']} | {best['w']:g} | "
        lines.append(head + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--captions", type=int, default=1024)
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the course's own entries are written")
    asked = parser.parse_args(arguments)
    if asked.captions < 2:
        parser.error(f"--captions: got {asked.captions}; expected 2 or more")
    try:
        entries = [entry for file in asked.files for entry in entries_of(file)] or own_entries()
    except (CheckpointError, ValueError) as error:
        parser.error(str(error))
    print(runtime.setup(), file=sys.stderr, flush=True)
    found: list[dict] = []
    for entry in entries:
        found.append(rounded(measured(entry, asked.captions)))
        if not asked.files:
            text = json.dumps(
                {"captions": asked.captions, "prompts": PROMPTS, "samples": SAMPLES, "entries": found}, indent=1
            )
            asked.out.write_text(text + "\n", encoding="utf-8")
    if asked.files and RESULTS.exists():
        found = json.loads(RESULTS.read_text(encoding="utf-8"))["entries"] + found
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
