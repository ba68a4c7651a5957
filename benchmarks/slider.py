"""How fast does the slider of notebook 08 answer?  `python benchmarks/slider.py [--runs 40]`

*Latency*: from a value of w to encoded pictures with the judge's opinion, through the explorer's core: 4
pictures, the explorer's steps, guided, decoded with the sharp decoder, judged, JPEG. Median and 95th percentile.

*Drag*: the explorer itself, its slider moved over the whole range in a second; from the last move to the
pictures of the last value. What a browser needs to show them (a few ms) is not in either.
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


def latencies(explorer: CFGExplorer, runs: int, n: int, steps: int) -> list[float]:
    """Seconds for each of `runs` values of w, spread over the slider's range."""
    seconds = []
    low, high = explorer.w.min, explorer.w.max
    for i in range(runs + 3):
        w = round(low + (high - low) * (i % runs) / max(1, runs - 1), 1)
        start = time.perf_counter()
        explorer.core.compute(CFGRequest(guidance_scale=w, n=n, steps=steps))
        seconds.append(time.perf_counter() - start)
    return seconds[3:]  # the first ones allocate


def drags(explorer: CFGExplorer, runs: int, moves: int = 60, lasting: float = 1.0) -> list[float]:
    """Seconds from the last of `moves` moves to its pictures, each drag to another end."""
    seconds = []
    for i in range(runs):
        ends = (explorer.w.min, explorer.w.max)
        start, end = ends if i % 2 == 0 else ends[::-1]
        for k in range(1, moves + 1):
            explorer.w.value = round(start + (end - start) * k / moves, 1)
            if k < moves:
                time.sleep(lasting / moves)
        released = time.perf_counter()
        while explorer.shown is None or explorer.shown.request.guidance_scale != end:
            if time.perf_counter() - released > 30:
                raise TimeoutError(f"the slider stands at {end:g}, and 30 s later its pictures are not there")
            time.sleep(0.002)
        seconds.append(time.perf_counter() - released)
    return seconds


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
    what = f"{asked.pictures} pictures, {asked.steps} steps"
    good = report(what, latencies(explorer, asked.runs, asked.pictures, asked.steps), 250)
    if asked.drags:
        # Let the first pictures and the strip under them be finished.
        explorer.refresh()
        explorer.wait(60)
        good &= report("drag to the last value", drags(explorer, asked.drags), 500)
    explorer.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
