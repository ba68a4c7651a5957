"""Models that a checkpoint can rebuild: their sizes lie in a small frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, ClassVar, get_args, get_type_hints

LARGEST = 512  # no size of a model, its depth included, is above


def sizes(kind: type, given: dict) -> Any:
    """A config of the dataclass `kind` from what JSON holds, or a ValueError that names the size which cannot be.

    It is asked before anything is allocated: each size is there, an integer from 1 to `LARGEST`, or as many of them
    as there should be.
    """
    hints = get_type_hints(kind)
    if not isinstance(given, dict) or set(given) != set(hints):
        had = ", ".join(map(str, given)) if isinstance(given, dict) else type(given).__name__
        raise ValueError(f"config: got {had or 'nothing'}; expected {', '.join(hints) or 'nothing'}")
    for name, hint in hints.items():
        value, count = given[name], len(get_args(hint))
        parts = value if count and isinstance(value, list | tuple) else [value]
        if len(parts) != (count or 1) or not all(type(n) is int and 1 <= n <= LARGEST for n in parts):
            expected = f"{count} integers" if count else "an integer"
            raise ValueError(f"{name}: got {str(value)[:60]}; expected {expected} from 1 to {LARGEST}")
    return kind(**given)


class Configured:
    """A model with its sizes in `self.config`, an instance of the class's `Config`."""

    Config: ClassVar[type]
    config: Any

    def config_dict(self) -> dict:
        """The sizes as JSON holds them; `from_config` is the inverse."""
        return asdict(self.config)

    @classmethod
    def from_config(cls, config: dict):
        """An untrained model of these sizes. ValueError for sizes that no model has."""
        return cls(sizes(cls.Config, config))  # type: ignore[call-arg]  # a subclass takes its config
