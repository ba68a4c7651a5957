"""Claims: what a notebook says of a figure, computed from the figure's own data, on a line that validation compares."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from course_utils.arguments import line, short

HOLDS, FAILS = "✓", "✗"


def claim(sentence: str, verdict: bool | Tensor) -> None:
    """Print whether a sentence holds: `✓ sentence`, or `✗ sentence (not in this run)`.

    sentence: a whole statement without numbers that differ from run to run, since validation compares the line.
    verdict: a single truth value, computed from what the figure above shows. Raises TypeError for anything else: a
        distance or a share is not yet a verdict, a comparison with it is.
    """
    line("sentence", sentence)
    if not _is_verdict(verdict):
        raise TypeError(f"verdict: got {short(verdict)}; expected True or False, such as a comparison of two numbers")
    print(f"{HOLDS} {sentence}" if bool(verdict) else f"{FAILS} {sentence} (not in this run)")


def _is_verdict(value: object) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.dtype == torch.bool
    if isinstance(value, np.ndarray):
        return value.size == 1 and value.dtype == np.bool_
    return isinstance(value, bool | np.bool_)
