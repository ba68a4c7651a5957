"""How much of the machine does training use?  `python benchmarks/throughput.py [denoiser vae] [--steps 120]`

Runs the recipes themselves, as `python -m course_utils.training` does, at the profile's batch size. Ten steps and
large fp32 matrix products take turns, each for the same time, so that both meet the same machine: on a shared one,
each rate by itself moves by a quarter from minute to minute. Prints the two rates, the ratio of each pair of turns
(median and quartiles), and the best turn's rate against the best single product's.

The work of a step is counted, not estimated: torch's FLOP counter watches a recipe that runs for one step
and for two, and the difference is a step's forward and backward passes (a multiply-add is two operations).
Optimiser, averaging, data and everything element-wise cost time and count as no work.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from course_utils import runtime
from course_utils.training.recipes import RECIPES, budget

SMALL = {"pictures": 512, "held_out": 64}  # the cost of a step does not depend on how many pictures there are


class MatrixProduct:
    """The rate of a large fp32 matrix product, FLOP/s."""

    def __init__(self, size: int):
        self.flops = 2 * size**3
        self.a, self.b, self.out = (torch.randn(size, size, device=runtime.device()) for _ in range(3))
        self.rates(0.2)  # the first calls also start threads and allocate

    def rates(self, seconds: float) -> tuple[float, float]:
        """Over all the products that fit into so many seconds, and of the fastest of them."""
        times: list[float] = []
        while sum(times) < seconds:
            runtime.synchronize()
            start = time.perf_counter()
            torch.mm(self.a, self.b, out=self.out)
            runtime.synchronize()
            times.append(time.perf_counter() - start)
        return self.flops * len(times) / sum(times), self.flops / min(times)


class Stopwatch:
    """A recipe's progress callback that times the steps between two calls, then products for as long."""

    def __init__(self, product: MatrixProduct):
        self.product, self.at, self.since = product, 0, time.perf_counter()
        self.seconds: list[float] = []  # per step
        self.products: list[float] = []  # FLOP/s, in the turn that followed
        self.best = 0.0  # FLOP/s of the fastest single product

    def __call__(self, step: int, steps: int, logs: dict, preview=None) -> None:
        runtime.synchronize()
        # The first steps pay for allocations and for the data before them.
        if self.at:
            turn = time.perf_counter() - self.since
            rate, best = self.product.rates(turn)
            self.seconds.append(turn / (step - self.at))
            self.products.append(rate)
            self.best = max(self.best, best)
        self.at, self.since = step, time.perf_counter()


def flops_of_a_step(recipe: str, batch: int) -> int:
    """Forward and backward passes of one step, in floating-point operations."""

    def count(steps: int) -> int:
        with FlopCounterMode(display=False) as counter:
            RECIPES[recipe](budget(recipe, "ci", batch=batch, steps=steps, **SMALL))
        return counter.get_total_flops()

    return count(2) - count(1)


def measure(recipe: str, profile: str, steps: int, product: MatrixProduct) -> None:
    batch = budget(recipe, profile).batch
    flops = flops_of_a_step(recipe, batch)
    watch = Stopwatch(product)
    RECIPES[recipe](budget(recipe, profile, steps=steps, progress=watch, **SMALL))
    rates = [flops / s for s in watch.seconds]
    ratios = [rate / p for rate, p in zip(rates, watch.products, strict=True)]
    seconds, rate, product_rate = map(statistics.median, (watch.seconds, rates, watch.products))
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{recipe}: batch {batch}, {flops / 1e9:.1f} GFLOP and {1000 * seconds:.0f} ms per step")
    print(f"  {batch / seconds:.0f} samples/s, {rate / 1e9:.1f} GFLOP/s; product {product_rate / 1e9:.1f} GFLOP/s")
    print(f"  ratio {middle:.2f} turn by turn (quartiles {low:.2f} and {high:.2f} of {len(ratios)} turns)")
    best, ratio = max(rates) / 1e9, max(rates) / watch.best
    print(f"  best against best: {best:.1f} and {watch.best / 1e9:.1f} GFLOP/s, ratio {ratio:.2f}")


def main(arguments: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("recipes", nargs="*", default=["denoiser", "vae"], metavar="recipe")
    parser.add_argument("--steps", type=int, default=120, help="optimiser steps to time")
    parser.add_argument("--size", type=int, default=2048, help="side of the matrices")
    default = "cpu" if runtime.device().type == "cpu" else "gpu"
    parser.add_argument("--profile", choices=runtime.PROFILES, default=default)
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.recipes if name not in RECIPES]:
        parser.error(f"recipe: got {unknown[0]!r}; expected one of {', '.join(RECIPES)}")
    if asked.steps < 40:
        parser.error(f"--steps: got {asked.steps}; expected 40 or more, since a turn is 10 steps")
    print(f"{runtime.setup()} · {torch.get_num_threads()} threads", flush=True)
    product = MatrixProduct(asked.size)
    for recipe in asked.recipes:
        measure(recipe, asked.profile, asked.steps, product)
    return 0


if __name__ == "__main__":
    sys.exit(main())
