"""How many steps does the slider need?  `python benchmarks/steps.py [--captions 256]`

The share of test captions for which the judge finds all that they name, by w and by the number of Euler steps, always
from the same noises. The larger w is, the more steps it takes: with too few, the latents fly apart, and that is the
solver's fault and not guidance's. The explorer's default is the fewest that do as well as 20 over its whole range.
"""

from __future__ import annotations

import argparse

import torch

from course_utils import runtime
from course_utils.checkpoints import load, load_pipeline
from course_utils.datasets.captions import named
from course_utils.datasets.plushies import Plushies
from course_utils.diffusion.threaded import on_all_cores
from course_utils.evaluation.judge import adherence

SCALES, STEPS, CHUNK = (1.0, 3.0, 5.0, 8.0, 12.0, 15.0), (8, 12, 16, 20), 64


def main(arguments: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    print(runtime.setup(), flush=True)
    pipeline, judge = on_all_cores(load_pipeline()), load("judge")
    source = Plushies(asked.captions, "test")
    captions = [source.caption(i) for i in range(len(source))]
    wanted = torch.stack([named(caption) for caption in captions])
    for w in SCALES:
        row = []
        for steps in STEPS:
            parts = [
                pipeline.generate(captions[i : i + CHUNK], guidance_scale=w, steps=steps, seed=asked.seed + i)
                for i in range(0, len(captions), CHUNK)
            ]
            right = adherence(judge, torch.cat(parts), wanted).mean_all_right
            row.append(f"{steps} steps {right:.3f}")
        print(f"w = {w:4.1f}: all right with " + ", ".join(row), flush=True)


if __name__ == "__main__":
    main()
