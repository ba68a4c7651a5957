"""What a recipe may spend, what it builds on, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import nn

from course_utils import checkpoints
from course_utils.training.loop import History, Part, fit


@dataclass(frozen=True)
class Budget:
    """What a recipe may spend: pictures in memory, optimiser steps, pictures per step, pictures to measure on."""

    pictures: int
    steps: int
    batch: int
    held_out: int
    state: Path | None = None  # the folder where an interrupted run is kept
    made_of: Mapping[str, str] = field(default_factory=dict)  # what that run is made of; see `fit`
    sources: Mapping[str, Path] = field(default_factory=dict)  # checkpoints in place of the course's own
    progress: Callable[..., None] | None = None

    def load(self, name: str) -> nn.Module:
        """A model that the recipe builds on: from `sources`, else the course's own."""
        return checkpoints.load(self.sources.get(name, name))

    def phase(self, name: str, **changes) -> Budget:
        """The same for one of several runs of a recipe, with changes such as `steps=100`: each is kept in a folder of its own."""
        return replace(self, state=self.state and self.state / name, **changes)

    def fit(self, parts: Part | list[Part], seed: int) -> History:
        """Train the parts for as many steps as the budget allows."""
        return fit(parts, steps=self.steps, seed=seed, progress=self.progress, state=self.state, made_of=self.made_of)
