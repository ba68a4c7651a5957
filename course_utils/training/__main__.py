"""Train a model of the course: `python -m course_utils.training RECIPE [--profile cpu]`, or `all` of them in turn.

The result goes to your own folder (.cache/checkpoints/PROFILE/RECIPE.safetensors, or --out FILE), and the last line says how to
load it. The course's own checkpoints are replaced with --ship only.

The decoders build on a VAE, the denoisers on a VAE and CLIP: on your own of the same profile if you have trained one,
else on the course's. Realness builds on VAE, CLIP, denoiser and sharp decoder: on your own if you have all of them. With --ship
it is always the course's. Each run says on which. Delete your own to go back.

A run that is stopped, killed or out of disk goes on, with the same command, from where it was saved last; `all`
skips what it has finished. Press Ctrl-C to stop.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator

from course_utils import checkpoints, runtime
from course_utils.training import state
from course_utils.training.processes import TrainingError, leave, on_main, processes
from course_utils.training.recipes import RECIPES, budget
from course_utils.training.runs import Round, Run, alone, locks, own_checkpoint

INTERRUPTED = 130  # what shells say of a command that was stopped by hand


def _whole(least: int, most: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"got {text!r}; expected a whole number from {least} to {most:,}")
        return value

    return whole


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    how = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m course_utils.training", description=__doc__, formatter_class=how)
    parser.add_argument("recipe", choices=[*RECIPES, "all"])
    parser.add_argument(
        "--profile", choices=runtime.PROFILES, help="default: COURSE_PROFILE, else what the device suits"
    )
    parser.add_argument("--steps", type=_whole(1, 10**9), help="optimiser steps, if not the profile's")
    parser.add_argument("--seed", type=_whole(0, 2**31 - 1), default=0)
    parser.add_argument("--out", type=Path, help="another file for the result")
    parser.add_argument("--ship", action="store_true", help="replace the checkpoint that ships with the course")
    asked = parser.parse_args(arguments)
    if asked.profile is None:
        try:
            asked.profile = runtime.profile()
        except ValueError as error:
            parser.error(f"{error}; or say --profile")
    if asked.out and asked.recipe == "all":
        parser.error("--out: all recipes cannot be saved to one file; expected one recipe")
    if asked.out and asked.out.suffix != ".safetensors":
        parser.error(f"--out: got {asked.out}; expected a name that ends in .safetensors")
    if asked.out and os.path.dirname(os.path.realpath(asked.out)) == os.path.realpath(checkpoints.folder()):
        parser.error(f"--out: {asked.out} lies among the course's own checkpoints; --ship replaces those")
    if asked.ship and asked.out:
        parser.error("--ship and --out: the result goes to one place; expected one of them")
    if asked.ship and asked.profile == "ci":
        parser.error("--ship: the ci profile trains for a few steps only; expected --profile cpu or gpu")
    return asked


def _run(asked: argparse.Namespace, recipe: str) -> Run:
    steps = asked.steps or budget(recipe, asked.profile).steps
    target = asked.out or (checkpoints.path_of(recipe) if asked.ship else own_checkpoint(recipe, asked.profile))
    return Run(recipe, asked.profile, steps, asked.seed, target, asked.ship)


def _report(name: str) -> Callable[..., None]:
    start = time.monotonic()

    def progress(step: int, steps: int, logs: dict[str, float], preview=None) -> None:
        if step % 50 == 0 or step == steps:
            numbers = "  ".join(f"{k} {v:.4g}" for k, v in logs.items())
            print(f"{name} {step}/{steps}  {numbers}  {time.monotonic() - start:.0f} s", flush=True)

    return progress


def _train(run: Run, accelerator: Accelerator, finished: Round | None) -> None:
    """One recipe from its state, if it has one, to its checkpoint. The state goes when the checkpoint is safe."""
    with ExitStack() as held:

        def start() -> bool:
            held.enter_context(alone(run))
            if finished and finished.has(run):
                return False
            checkpoints.check_writable(run.target)
            return True

        if not on_main(accelerator, start):
            accelerator.print(f"{run.recipe}: finished already in this round, skipped", flush=True)
            return
        if built_on := run.built_on():
            accelerator.print(f"{run.recipe} builds on {built_on}", flush=True)
        means = replace(
            budget(run.recipe, run.profile),
            steps=run.steps,
            state=run.folder,
            made_of=run.made_of(),
            sources=run.sources,
            progress=_report(run.recipe),
        )
        model, metrics = RECIPES[run.recipe](means, run.seed)

        def keep() -> None:
            path = checkpoints.save(model, run.target, name=run.recipe, recipe=run.line, metrics=metrics, seed=run.seed)
            if finished:
                finished.add(run)
            state.remove(run.folder)
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB  {json.dumps(metrics)}")
            print(f"  load it: checkpoints.load({run.recipe if run.ship else str(path)!r})", flush=True)

        on_main(accelerator, keep)  # the next recipe may load what was written


@contextmanager
def _interruptible() -> Iterator[None]:
    """A polite request to end (SIGTERM) is an interrupt, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _what_is_kept(run: Run) -> str:
    found = sorted((p.stat().st_mtime, p.parent, step) for step, p in state.saves_below(run.folder))
    if not found:
        return f"{run.recipe} had not been saved yet; the same command starts it anew"
    _, folder, step = found[-1]
    return f"{run.recipe} is kept as of step {step} of {run.steps} in {folder}; the same command goes on from there"


def main(arguments: list[str] | None = None) -> int:
    asked = _asked(arguments)
    run, accelerator = None, None
    try:
        with _interruptible():
            accelerator = processes()  # each of several processes picks its device before models are placed
            accelerator.print(runtime.setup(asked.seed, asked.profile), flush=True)
            on_main(accelerator, locks)
            finished = None
            if asked.recipe == "all":
                length = "" if asked.steps is None else f"-{asked.steps}"
                finished = Round(f"all-{asked.profile}{length}-{asked.seed}{'-ship' * asked.ship}")
            for recipe in RECIPES if asked.recipe == "all" else [asked.recipe]:
                run = _run(asked, recipe)
                _train(run, accelerator, finished)
            if finished:
                on_main(accelerator, finished.close)
            leave(accelerator)
    except KeyboardInterrupt:
        if accelerator is None or accelerator.is_main_process:
            print("stopped" + (f": {_what_is_kept(run)}" if run else ""), file=sys.stderr)
        return INTERRUPTED
    except (TrainingError, checkpoints.CheckpointError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}" if error.filename else error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
