"""Equal time instead of equal steps: how many steps of a training fit into so many seconds?"""

from __future__ import annotations

import time

import torch

from course_utils import runtime
from course_utils.training.loop import Part


def steps_within(seconds: float, part: Part, tries: int = 6) -> int:
    """How many optimiser steps of `part` fit into `seconds`, measured on a few batches; at least 1.

    Forward and backward passes are timed after two that warm up; weights and the global random state stay as they are.
    """
    if not seconds > 0:
        raise ValueError(f"seconds: got {seconds}; expected more than 0")
    device = next(part.module.parameters()).device
    generator, taken = torch.Generator().manual_seed(0), []
    with torch.random.fork_rng():
        for _ in range(tries + 2):
            start = time.perf_counter()
            loss, _ = part.loss(generator)
            loss.backward()
            runtime.synchronize(device)
            taken.append(time.perf_counter() - start)
    part.module.zero_grad(set_to_none=True)
    return max(1, round(seconds / (sum(taken[2:]) / tries)))
