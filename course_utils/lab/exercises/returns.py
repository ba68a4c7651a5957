"""What an exercise's function must return for the notebook to go on, and how anything else is told in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import AsyncGeneratorType, BuiltinFunctionType, CoroutineType, FunctionType, GeneratorType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_ROUGH = (torch.float16, torch.bfloat16)


class Wrong(Exception):
    """The answer is wrong: what was expected and what came, and a hint if the mistake is a known one."""

    def __init__(self, what: str, hint: str = ""):
        super().__init__(what)
        self.what, self.hint = what, hint


class NotAttempted(Exception):
    """The function's body is still `...`."""


def type_name(thing: Any) -> str:
    """The name of a thing's type, whatever the type says of itself."""
    return type.__dict__["__name__"].__get__(type(thing))


def one_of(thing: Any, types: Iterable[type]) -> bool:
    """Is the thing's type one of these? Asks neither the thing nor its type, both of which may be anything."""
    return any(type(thing) is kind for kind in types)


def named(thing: Any) -> str:
    """What came, in a few words. Asks nothing of the thing itself, which may be anything."""
    kind = type(thing)
    if one_of(thing, (tuple, list, dict, set, frozenset)):
        return f"a {kind.__name__} of {len(thing)}"
    if issubclass(kind, np.ndarray):
        return "a NumPy array"
    if issubclass(kind, np.generic):
        return f"NumPy's {type_name(thing)}"
    if issubclass(kind, type):
        return f"the class {type.__dict__['__name__'].__get__(thing)}"
    return type_name(thing)


def one_line(text: str, limit: int = 200) -> str:
    """The first line of a message, printable anywhere and not too long."""
    line = (text.strip().splitlines() or ["no message"])[0]
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + "…"


def is_tensor(thing: Any) -> bool:
    """`isinstance` would ask the thing for its class."""
    return issubclass(type(thing), Tensor)


@dataclass(frozen=True)
class Returns:
    """A kind of answer. `look` goes before a comparison of values, so that it cannot fail; `insist` after it.

    `words` name the kind. `types` may come, beside tensors if `tensors`. In the end a tensor must have the `dtype`,
    or if that is None, that of the inputs; `final` are the types that the notebook can really use.
    """

    words: str
    types: tuple[type, ...] = ()
    final: tuple[type, ...] = ()
    tensors: bool = True
    dtype: torch.dtype | None = None
    any_tensor: bool = False
    cure: str = ""

    def look(self, answer: Any, inputs: Sequence[Any]) -> None:
        """`Wrong` unless the answer is of a type that can be compared."""
        if self.tensors and is_tensor(answer):
            self._look_at_tensor(answer, inputs)
        elif not one_of(answer, self.types):
            raise Wrong(f"expected {self.words}, got {named(answer)}", self._hint(answer))

    def _look_at_tensor(self, answer: Tensor, inputs: Sequence[Any]) -> None:
        given = [x for x in inputs if is_tensor(x)]
        if not one_of(answer, (Tensor, nn.Parameter, *map(type, given))):
            raise Wrong(f"expected a plain tensor, got one of the class {type_name(answer)}")
        if answer.layout is not torch.strided or answer.is_nested or answer.is_quantized:
            kind = "nested" if answer.is_nested else "quantized" if answer.is_quantized else str(answer.layout)
            raise Wrong(f"expected a dense tensor, got a {kind} one", ".to_dense() makes one of a sparse tensor.")
        if answer.is_complex():
            raise Wrong(f"expected real numbers, got {answer.dtype}", "no square root of something negative, no FFT?")
        if answer.dtype in _ROUGH or answer.element_size() == 1 and answer.is_floating_point():
            raise Wrong(f"expected {_dtype_of(inputs)}, got {answer.dtype}", "keep the precision of what comes in.")
        where = given[0].device if given else torch.device("cpu")
        if answer.device != where and (answer.is_meta or not self.any_tensor):
            raise Wrong(
                f"its inputs are on {where}, its answer is on {answer.device}",
                "what you make inside belongs where the inputs are: device=x.device, or .to(x.device).",
            )
        if answer.is_inference():
            raise Wrong(
                "its answer was made in torch.inference_mode", "such a tensor cannot be trained with: leave it."
            )

    def insist(self, answer: Any, inputs: Sequence[Any]) -> None:
        """`Wrong` unless the notebook can go on with an answer whose values are right."""
        if not is_tensor(answer):
            if not one_of(answer, self.final or self.types):
                raise Wrong(f"the value is right, but expected {self.words}, got {named(answer)}", self.cure)
            return
        if self.final and Tensor not in self.final:
            raise Wrong(f"the value is right, but expected {self.words}, got a tensor", self.cure)
        dtype = self.dtype or _dtype_of(inputs)
        if not self.any_tensor and answer.dtype != dtype:
            raise Wrong(
                f"the values are right, but expected {dtype}, got {answer.dtype}",
                self.cure or "keep the type of what comes in: no .double(), .half() or .int() on the way.",
            )
        if answer.requires_grad and not any(is_tensor(x) and x.requires_grad for x in inputs):
            raise Wrong(
                "the values are right, but they carry a gradient that nobody asked for",
                "end with .detach(): nothing that came in is being learned.",
            )

    def _hint(self, answer: Any) -> str:
        kind = type(answer)
        if issubclass(kind, (np.ndarray, np.generic)):
            return "stay in torch: torch.from_numpy(a) makes a tensor of a NumPy array."
        if one_of(answer, (CoroutineType, AsyncGeneratorType)):
            return "write `def`, not `async def`."
        if kind is GeneratorType:
            return "was `yield` written for `return`?"
        if one_of(answer, (FunctionType, BuiltinFunctionType)) or issubclass(kind, type):
            return "was a call forgotten? `f` is the function, `f(x)` is what it gives."
        if one_of(answer, (int, float, bool)) and self.tensors:
            return "keep it a tensor: no .item(), float() or Python's own math on the way."
        if one_of(answer, (list, tuple)) and self.tensors:
            return "torch.stack or torch.tensor makes one tensor of several." if self.dtype is None else ""
        return self.cure


def _dtype_of(inputs: Sequence[Any]) -> torch.dtype:
    return next((x.dtype for x in inputs if is_tensor(x) and x.is_floating_point()), torch.float32)


_NUMPY = (np.float64, np.float32, np.int64, np.int32)

TENSOR = Returns("a tensor")
MASK = Returns("a bool tensor", dtype=torch.bool, cure="compare, or end with .bool(): these are truth values.")
NUMBER = Returns("one number", (int, float, *_NUMPY), any_tensor=True)
FACTOR = Returns("one number", (int, float), any_tensor=True, cure="float(x) makes a plain number of it.")
"""A number that will multiply tensors, which NumPy's numbers cannot."""
COUNT = Returns(
    "a whole number", (int, float, *_NUMPY), (int, Tensor), any_tensor=True, cure="int(x) makes a whole number of it."
)
INT = Returns(
    "an int",
    (int, float, *_NUMPY),
    (int,),
    any_tensor=True,
    cure="Python's own int: // divides whole numbers, int(x) makes one of a tensor.",
)
STRINGS = Returns("a list of strings", (list,), tensors=False, cure="collect the symbols in a list.")
