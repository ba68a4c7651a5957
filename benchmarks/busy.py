"""What does a busy laptop cost?  `python benchmarks/busy.py [--neighbours 0 1 2] [--seconds 8] [--runs 40]`

The rates of rendering, of a training step and of the slider, alone and beside other processes that keep a core
busy each; once with the course's passive waiting (`OMP_WAIT_POLICY=PASSIVE`) and once with the OpenMP runtime's
default, under which a thread that waits for its siblings spins and takes the core from whoever has work to do.

The variable is read when torch is loaded, so every measurement is a process of its own. The two settings take turns
within a number of neighbours, so that both meet the same machine. The slider's line to hold: beside one neighbour
its 95th percentile is at most 1.5 times what it is alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

MOST = 1.5  # the slider's p95 beside one neighbour, over that alone


@contextmanager
def neighbours(count: int):
    """`count` processes that do nothing but keep a core busy, for as long as the block lasts."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def rate(function: Callable[[], int], seconds: float) -> float:
    """What `function` gets done per second; it returns how much that was in one call. The first call is not counted."""
    function()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        done += function()
    return done / (time.perf_counter() - start)


def measure(seconds: float, runs: int) -> dict[str, float]:
    """The three rates in this process: pictures per second, steps per second, and the slider's milliseconds."""
    import statistics

    import torch
    from slider import latencies, percentile

    from course_utils import runtime
    from course_utils.datasets.attributes import sample_attributes
    from course_utils.datasets.drawing import render
    from course_utils.datasets.plushies import Plushies
    from course_utils.lab.widgets.explorer import CFGExplorer
    from course_utils.models.autoencoder import VAE
    from course_utils.training.batches import place
    from course_utils.training.loop import fit
    from course_utils.training.recipes.vae import KL_WEIGHT, vae_part

    runtime.setup()
    rows, seeds = sample_attributes(64)
    data = Plushies(256, size=64).in_memory()
    part = vae_part(place(VAE()), data, 32, KL_WEIGHT)

    def pictures() -> int:
        return len(render(rows, seeds, 64))

    def steps() -> int:
        fit(part, steps=2)
        return 2

    explorer = CFGExplorer()
    slider = [1000 * s for s in latencies(explorer, runs, n=4, steps=20)]
    explorer.close()
    return {
        "threads": torch.get_num_threads(),
        "pictures_per_s": rate(pictures, seconds),
        "steps_per_s": rate(steps, seconds),
        "slider_median_ms": statistics.median(slider),
        "slider_p95_ms": percentile(slider, 0.95),
    }


def measured_apart(policy: str | None, seconds: float, runs: int) -> dict[str, float]:
    """`measure` in a fresh process under a wait policy; None is the runtime's own default."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    # The package sets PASSIVE unless the variable is there; an empty value is there, and libgomp ignores it.
    environment["OMP_WAIT_POLICY"] = policy or ""
    command = [sys.executable, __file__, "--here", "--seconds", str(seconds), "--runs", str(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"the measurement failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=8.0, help="for rendering and for training, each")
    parser.add_argument("--runs", type=int, default=40, help="values of the slider")
    parser.add_argument("--here", action="store_true", help="measure in this process, print JSON and end")
    asked = parser.parse_args(arguments)
    if asked.here:
        print(json.dumps(measure(asked.seconds, asked.runs)))
        return 0
    found: dict[tuple[str, int], dict[str, float]] = {}
    print(f"{'waiting':<9}{'beside':<8}{'pictures/s':>12}{'steps/s':>9}{'slider median':>15}{'p95':>8}", flush=True)
    for count in asked.neighbours:
        for name, policy in (("passive", "PASSIVE"), ("default", None)):
            with neighbours(count):
                row = found[name, count] = measured_apart(policy, asked.seconds, asked.runs)
            print(
                f"{name:<9}{count:<8}{row['pictures_per_s']:>12.0f}{row['steps_per_s']:>9.2f}"
                f"{row['slider_median_ms']:>12.0f} ms{row['slider_p95_ms']:>5.0f} ms",
                flush=True,
            )
    alone, beside = found.get(("passive", 0)), found.get(("passive", 1))
    if not alone or not beside:
        return 0
    ratio = beside["slider_p95_ms"] / alone["slider_p95_ms"]
    print(f"passive: the slider's p95 beside one neighbour is {ratio:.2f} times that alone (aim: {MOST} at most)")
    return 0 if ratio <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
