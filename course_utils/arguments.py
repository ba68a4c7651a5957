"""What functions ask of the numbers and texts that they are given: each check names the argument, what came and what
was expected."""

from __future__ import annotations

import math
from numbers import Integral, Real


def whole(name: str, value: int, low: int, high: int | None = None) -> int:
    """A whole number from `low` to `high`, Python's or NumPy's; True is none. Else a ValueError."""
    ok = isinstance(value, Integral) and not isinstance(value, bool) and value >= low
    if not ok or (high is not None and value > high):
        expected = f", {low:,} or more" if high is None else f" from {low:,} to {high:,}"
        raise ValueError(f"{name} is {short(value)}; expected a whole number{expected}")
    return int(value)


def number(name: str, value: float, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number from `low` to `high`, Python's, NumPy's or a tensor of no dimensions. Else a ValueError."""
    plain = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    try:
        found = float(plain) if isinstance(plain, Real) and not isinstance(plain, bool) else math.nan
    except OverflowError:
        found = math.inf
    if not (math.isfinite(found) and low <= found <= high):
        span = (
            f" from {low:g} to {high:g}" if math.isfinite(high) else f", {low:g} or more" if math.isfinite(low) else ""
        )
        raise ValueError(f"{name} is {short(value)}; expected a finite number{span}")
    return found


def text(name: str, value: str) -> str:
    """A string that can be written as UTF-8: half a surrogate pair, which is no character, is refused."""
    if not isinstance(value, str):
        raise ValueError(f"{name} is {short(value)} ({type(value).__name__}); expected a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        came = f"{name} has {value[error.start]!r} at character {error.start}"
        raise ValueError(f"{came}, half of a surrogate pair; expected text that can be written as UTF-8") from None
    return value


def line(name: str, value: str) -> str:
    """One line of text with something in it, else a ValueError."""
    if not text(name, value).strip() or "\n" in value:
        raise ValueError(f"{name}: got {short(value)}; expected one line of text")
    return value


def short(value: object) -> str:
    """`repr`, cut to a line."""
    if isinstance(value, int) and value.bit_length() > 200:  # Python itself refuses to write the longest
        return f"a whole number of {value.bit_length()} bits"
    said = repr(value)
    return said if len(said) <= 80 else said[:77] + "..."
