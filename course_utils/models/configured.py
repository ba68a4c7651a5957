"""Models that a checkpoint can rebuild: their sizes lie in a small frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar


class Configured:
    """A model with its sizes in `self.config`, an instance of the class's `Config`."""

    Config: ClassVar[type]
    config: Any

    def config_dict(self) -> dict:
        """The sizes as JSON holds them; `from_config` is the inverse."""
        return asdict(self.config)

    @classmethod
    def from_config(cls, config: dict):
        """An untrained model of these sizes."""
        return cls(cls.Config(**config))  # type: ignore[call-arg]  # a subclass takes its config
