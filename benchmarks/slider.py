"""How fast does the slider of notebook 08 answer?  `python benchmarks/slider.py [--runs 40]`

*Latency*: from a value of w to encoded pictures with the judge's opinion, through the explorer's core: 4
pictures, decoded with the sharp decoder, judged, JPEG; exact (the explorer's steps, guided) and fast (by the student).
Median and 95th percentile.

*Drag*: the explorer itself, its slider moved over the whole range in a second; from the last move to the first
pictures of the last value, a draft by the student, and to the exact ones. What a browser needs to show them (a few ms) is
not in any of them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time

import torch

from course_utils import runtime
from course_utils.lab.widgets.explorer import CFGExplorer
from course_utils.lab.widgets.explorer_core import CFGRequest


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def report(name: str, seconds: list[float], target: float) -> bool:
    ms = [1000 * s for s in seconds]
    p95 = percentile(ms, 0.95)
    print(
        f"{name}: median {statistics.median(ms):.0f} ms, p95 {p95:.0f} ms over {len(ms)} runs "
        f"(fastest {min(ms):.0f}, slowest {max(ms):.0f}; target p95 {target:.0f} ms)",
        flush=True,
    )
    return p95 <= target


def latencies(explorer: CFGExplorer, runs: int, n: int, steps: int, fast: bool) -> list[float]:
    """Seconds for each of `runs` values of w, spread over the slider's range (a student's begins at 0)."""
    seconds = []
    low, high = 0.0 if fast else explorer.w.min, explorer.w.max
    for i in range(runs + 3):
        w = round(low + (high - low) * (i % runs) / max(1, runs - 1), 1)
        start = time.perf_counter()
        explorer.core.compute(CFGRequest(guidance_scale=w, n=n, steps=steps, fast=fast))
        seconds.append(time.perf_counter() - start)
    return seconds[3:]  # the first ones allocate


def drags(explorer: CFGExplorer, runs: int, moves: int = 60, lasting: float = 1.0) -> tuple[list[float], list[float]]:
    """Seconds from the last of `moves` moves to its first pictures and to its exact ones, each drag to another end."""
    first, exact = [], []
    for i in range(runs):
        ends = (0.0, explorer.w.max)
        start, end = ends if i % 2 == 0 else ends[::-1]
        for k in range(1, moves + 1):
            explorer.w.value = round(start + (end - start) * k / moves, 1)
            if k < moves:
                time.sleep(lasting / moves)
        released = time.perf_counter()
        first.append(seconds_until(explorer, released, end, exactly=False))
        exact.append(seconds_until(explorer, released, end, exactly=True))
    return first, exact


def seconds_until(explorer: CFGExplorer, since: float, w: float, exactly: bool) -> float:
    """Until pictures of w are shown."""
    while True:
        shown = explorer.shown
        if shown is not None and shown.request.guidance_scale == w and not (exactly and shown.drawn.fast):
            return time.perf_counter() - since
        if time.perf_counter() - since > 30:
            raise TimeoutError(f"the slider stands at {w:g}, and 30 s later its pictures are not there")
        time.sleep(0.002)


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--runs", type=int, default=40, help="values of w to time, 30 or more")
    parser.add_argument("--drags", type=int, default=6, help="drags over the whole range; 0 leaves them out")
    parser.add_argument("--pictures", type=int, default=4, choices=(1, 4, 8))
    parser.add_argument("--steps", type=int, default=CFGRequest.steps)
    asked = parser.parse_args(arguments)
    if asked.runs < 30:
        parser.error(f"--runs: got {asked.runs}; expected 30 or more, or the 95th percentile says little")
    print(f"{runtime.setup()} · {torch.get_num_threads()} threads", flush=True)
    explorer = CFGExplorer()
    good = True
    for what, fast, target in ((f"{asked.steps} steps, exact", False, 250), ("fast", True, 100)):
        seconds = latencies(explorer, asked.runs, asked.pictures, asked.steps, fast)
        good &= report(f"{asked.pictures} pictures, {what}", seconds, target)
    if asked.drags:
        # Let the first pictures and the strip under them be finished.
        explorer.refresh()
        explorer.wait(60)
        first, exact = drags(explorer, asked.drags)
        good &= report("drag to the last value, first pictures", first, 200)
        good &= report("drag to the last value, exact pictures", exact, 500)
    explorer.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
