"""What a recipe may spend."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from course_utils.training.loop import History, Part, fit


@dataclass(frozen=True)
class Budget:
    """What a recipe may spend: pictures in memory, optimiser steps, pictures per step, pictures to measure on."""

    pictures: int
    steps: int
    batch: int
    held_out: int
    state: Path | None = None  # the folder where an interrupted run is kept
    progress: Callable[..., None] | None = None

    def fit(self, parts: Part | list[Part], seed: int) -> History:
        """Train the parts for as many steps as the budget allows."""
        return fit(parts, steps=self.steps, seed=seed, progress=self.progress, state=self.state)
