"""A student's function under test: called as the notebook calls it, with copies, and with an end."""

from __future__ import annotations

import contextlib
import copy
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import CodeType, CoroutineType, FunctionType, MethodType
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor, nn

from course_utils.lab.exercises import deadline
from course_utils.lab.exercises.returns import (
    TENSOR,
    NotAttempted,
    Returns,
    Wrong,
    is_tensor,
    one_line,
    type_name,
)


def _placeholder():
    """A body with nothing but a docstring and `...`, to recognise others like it."""
    ...


def _code(function: Any) -> CodeType | None:
    while type(function) in (MethodType, partial):
        function = function.__func__ if type(function) is MethodType else function.func
    return function.__code__ if type(function) is FunctionType else None


def _is_placeholder(function: Callable) -> bool:
    code = _code(function)
    return code is not None and len(code.co_code) <= len(_placeholder.__code__.co_code)


_OURS = {__file__, deadline.__file__}


class Call(NamedTuple):
    """What went in and what came out."""

    inputs: tuple
    answer: Any


class Attempt:
    """The student's function, called with copies of its inputs. What it does wrong is raised as `Wrong`.

    `names` are the arguments' names, and those in `keywords` are passed by name, as the notebook does. `on_error`
    maps a word in an exception's message to a hint, for mistakes that stop the function. An answer is returned only
    if its type is one that `returns` lets pass.
    """

    def __init__(
        self,
        function: Callable,
        on_error: Mapping[str, str] | None = None,
        returns: Returns = TENSOR,
        names: Sequence[str] = (),
        keywords: Sequence[str] = (),
    ):
        self.function, self.on_error, self.returns = function, on_error or {}, returns
        self.names, self.keywords = tuple(names), frozenset(keywords)
        self.calls: list[Call] = []
        self._left = self._allowed = deadline.SECONDS

    def __call__(self, *inputs: Any) -> Any:
        kept, given = tuple(map(_snapshot, inputs)), [_lent(x) for x in inputs]
        by_name = dict(zip(self.names, given, strict=False))
        keywords = {name: by_name[name] for name in self.names if name in self.keywords}
        answer = self.run(self.function, *given[: len(given) - len(keywords)], **keywords)
        if answer is Ellipsis or (answer is None and _is_placeholder(self.function)):
            raise NotAttempted
        if answer is None:
            raise Wrong("it returned None", "the function must return its result: is a `return` missing?")
        if type(answer) is CoroutineType:
            answer.close()  # or Python warns that nobody waited for it
        for before, after in zip(kept, given, strict=True):
            _check_unchanged(before, after)
        self.returns.look(answer, kept)
        self.calls.append(Call(kept, answer))
        return answer

    def run(self, function: Callable, *arguments: Any, **keywords: Any) -> Any:
        """Calls what the student's code has a hand in. Only the user's own interrupt leaves it."""
        began = time.monotonic()
        try:
            with _switches_kept(), _exit_raises():
                return deadline.within(self._left, function, *arguments, **keywords)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._explain(error)
        finally:
            self._left = max(0.1, self._left - (time.monotonic() - began))

    def _explain(self, error: BaseException) -> NoReturn:
        where = self._where(error)
        kind = type(error)
        if issubclass(kind, deadline.OutOfTime):
            raise Wrong(
                f"it had not ended after {self._allowed:g} seconds, and was stopped ({where})",
                "does each loop come closer to its end (`i += 1`), and does it end for small inputs, too?",
            ) from None
        message = _message(error)
        # A gap in the middle is still `...`, or the body is a bare `raise NotImplementedError`.
        if "ellipsis" in message or (issubclass(kind, NotImplementedError) and message == "no message"):
            raise NotAttempted from None
        if issubclass(kind, (SystemExit, GeneratorExit)):
            raise Wrong(f"it left Python with {type_name(error)} ({where})", "end with `return`, not with exit().")
        hint = next((hint for word, hint in self.on_error.items() if word in message), "")
        if issubclass(kind, RecursionError):
            hint = hint or "the function calls itself again and again: when does it stop?"
        if issubclass(kind, MemoryError):
            hint = hint or "it asked for more memory than there is."
        if where.startswith("before"):
            call = ", ".join(f"{n}=…" if n in self.keywords else n for n in self.names)
            hint = hint or f"the notebook calls it with ({call})" + (
                ": keep the names that stand before a =." if self.keywords else "."
            )
        raise Wrong(f"it stopped with {type_name(error)}: {message} ({where})", hint) from None

    def _where(self, error: BaseException) -> str:
        """In which line of the student's function an error arose, counted from its `def`."""
        code, chain = _code(self.function), [error]
        while chain[-1].__context__ is not None and len(chain) < 10:
            chain.append(chain[-1].__context__)
        frames = [
            (frame, line)
            for one in (chain if issubclass(type(error), deadline.OutOfTime) else chain[:1])
            for frame, line in traceback.walk_tb(one.__traceback__)
            if frame.f_code.co_filename not in _OURS
        ]
        for frame, line in reversed(frames):
            if frame.f_code is code:
                return f"line {line - frame.f_code.co_firstlineno + 1} of the function"
        if frames:
            return f"in {frames[0][0].f_code.co_name}"
        return "before its first line: do its arguments match?"


def _message(error: BaseException) -> str:
    try:
        return one_line(str(error))
    except Exception:  # the student's own class may say anything here
        return "no message"


def _snapshot(x: Any) -> Any:
    """An input as it was before the call, for comparison and for another call."""
    if type(x) is torch.Generator:
        again = torch.Generator(x.device)
        again.set_state(x.get_state())
        return again
    return list(x) if type(x) is list else x


def _lent(x: Any) -> Any:
    """What the student's function gets: tensors and lists are copies, a generator goes on."""
    return x.clone() if is_tensor(x) else list(x) if type(x) is list else x


def _check_unchanged(before: Any, after: Any) -> None:
    if not is_tensor(before) and type(before) is not list:
        return
    try:
        if is_tensor(before):
            same = after.dtype == before.dtype and torch.equal(before, after)
        else:
            same = len(before) == len(after) and all(a is b or a == b for a, b in zip(before, after, strict=True))
        same = same is True
    except Exception:  # whatever stands there now, it is not what stood there before
        same = False
    if not same:
        raise Wrong(
            "it changed its input in place",
            "the caller still needs it: make a new tensor (`a + b`, `torch.where`, `.clone()`)."
            if is_tensor(before)
            else "build a new list: the caller still needs the old one.",
        )
    if is_tensor(before) and after.requires_grad != before.requires_grad:
        raise Wrong(
            "it switched an input's gradient on or off, in place",
            "the caller's tensor stays as it is: x.detach().requires_grad_() is another one.",
        )


def moved(x: Any, device: torch.device) -> Any:
    """An input of a check on another device, without float64, which Apple's GPUs do not have."""
    if isinstance(x, nn.Module):
        return copy.deepcopy(x).to(device, torch.float32)
    if isinstance(x, Tensor):
        return (x.float() if x.dtype == torch.float64 else x).detach().to(device)
    return _snapshot(x)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Gradients on, as a notebook's training has them, and the global random state as it was before."""
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
        yield


@contextlib.contextmanager
def _switches_kept() -> Iterator[None]:
    """What the student's code sets for all of torch ends with it."""
    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


@contextlib.contextmanager
def _exit_raises() -> Iterator[None]:
    """In a notebook, exit() is IPython's and ends the kernel without an exception. Here it raises one."""
    ask = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = ask and ask()
    if shell is None:
        yield
        return

    def leave(*_: Any) -> NoReturn:
        raise SystemExit

    shell.ask_exit = leave
    try:
        yield
    finally:
        del shell.ask_exit
