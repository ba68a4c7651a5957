"""Train a model again: `python -m course_utils.training RECIPE [--profile cpu] [--out FILE]`, or `all`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from accelerate import PartialState

from course_utils import runtime
from course_utils.training import checkpoints
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
    parser.add_argument(
        "--out", type=Path, help="where to save (default: data/checkpoints/RECIPE.safetensors)"
    )
    asked = parser.parse_args(arguments)
    print(runtime.setup(asked.seed), flush=True)
    for name in RECIPES if asked.recipe == "all" else [asked.recipe]:
        changes = {} if asked.steps is None else {"steps": asked.steps}
        kept = runtime.cache_dir() / "training" / f"{name}-{asked.profile}-{asked.seed}.safetensors"
        run = budget(name, asked.profile, state=kept, progress=_report(name), **changes)
        model, metrics = RECIPES[name](run, asked.seed)
        if not PartialState().is_main_process:  # of several processes, one writes
            continue
        path = asked.out or checkpoints.path_of(name)
        recipe = f"{name} --profile {asked.profile} --steps {run.steps} --seed {asked.seed}"
        checkpoints.save(model, path, name=name, recipe=recipe, metrics=metrics, seed=asked.seed)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB  {json.dumps(metrics)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
