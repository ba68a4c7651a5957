"""Train a model again: `python -m course_utils.training RECIPE [--profile cpu] [--out FILE]`, or `all`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from course_utils import checkpoints, runtime
from course_utils.training.recipes import RECIPES, budget


def _report(name: str):
    start = time.monotonic()

    def progress(step: int, steps: int, logs: dict[str, float], preview=None) -> None:
        if step % 50 == 0 or step == steps:
            numbers = "  ".join(f"{k} {v:.4g}" for k, v in logs.items())
            print(f"{name} {step}/{steps}  {numbers}  {time.monotonic() - start:.0f} s", flush=True)

    return progress


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m course_utils.training", description=__doc__)
    parser.add_argument("recipe", choices=[*RECIPES, "all"])
    parser.add_argument("--profile", choices=runtime.PROFILES, default=runtime.profile())
    parser.add_argument("--steps", type=int, help="optimiser steps, if not the profile's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="where to save (default: data/checkpoints/RECIPE.safetensors)")
    asked = parser.parse_args(arguments)
    if asked.out and asked.recipe == "all":
        parser.error("--out: all recipes cannot be saved to one file; expected one recipe")
    if asked.out and asked.out.suffix != ".safetensors":
        parser.error(f"--out: got {asked.out}; expected a name that ends in .safetensors")
    accelerator = Accelerator()  # each of several processes picks its device before models are placed
    print(runtime.setup(asked.seed), flush=True)
    for name in RECIPES if asked.recipe == "all" else [asked.recipe]:
        changes = {} if asked.steps is None else {"steps": asked.steps}
        run = budget(name, asked.profile, progress=_report(name), **changes)
        # Another length is another schedule of the learning rate, so it is another run.
        kept = f"{name}-{asked.profile}-{run.steps}-{asked.seed}"
        run = replace(run, state=runtime.cache_dir() / "training" / kept)
        model, metrics = RECIPES[name](run, asked.seed)
        if accelerator.is_main_process:  # of several processes, one writes
            path = asked.out or checkpoints.path_of(name)
            recipe = f"{name} --profile {asked.profile} --steps {run.steps} --seed {asked.seed}"
            checkpoints.save(model, path, name=name, recipe=recipe, metrics=metrics, seed=asked.seed)
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB  {json.dumps(metrics)}", flush=True)
        accelerator.wait_for_everyone()  # the next recipe may load what was written
    return 0


if __name__ == "__main__":
    sys.exit(main())
