"""A time limit for code that may never end: in any thread, on any system, without a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

SECONDS = 10.0
"""What a student's function may take in all the calls of one check. Set it higher for a slow machine."""

_AGAIN = 0.005  # seconds until the next exception, for code that catches everything


class OutOfTime(BaseException):
    """Raised inside code that took too long. No `Exception`, so that `except Exception` does not hold it up."""


def within(seconds: float, function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """The function's result, or `OutOfTime` in its midst once the seconds are over, whatever it catches.

    Python code is stopped at its next line, and waiting (`time.sleep`, `input`) in a main thread that knows Unix
    signals. A single long operation of torch or of another library ends by itself first. In Python 3.12 a loop that
    catches everything, and then does nothing (`except: pass`), goes on: there Python looks for interrupts only in
    what it tries.
    """
    watchdog = _Watchdog(seconds)
    with _waiting_can_be_broken():
        try:
            result = _call(_IN_A_ROW + 1, watchdog, function, arguments, keywords)
        except OutOfTime:
            raise
        except BaseException:
            if watchdog.barked:
                raise OutOfTime from None
            raise
        finally:
            while not watchdog.stopped:
                try:  # noqa: SIM105 — `suppress` is Python code in which the exception could arrive
                    watchdog.stop()
                except OutOfTime:
                    pass
    if watchdog.barked:
        raise OutOfTime
    return result


def _call(layers: int, watchdog: _Watchdog, function: Callable, arguments: tuple, keywords: dict) -> Any:
    """Calls the function within layers, each of which uses up one exception that arrives while another is handled."""
    try:
        if layers:
            return _call(layers - 1, watchdog, function, arguments, keywords)
        watchdog.start()
        watchdog.armed = True
        return function(*arguments, **keywords)
    finally:
        watchdog.target.value = _NOBODY


_send = ctypes.PYFUNCTYPE(None, ctypes.c_ulong, ctypes.py_object)(("PyThreadState_SetAsyncExc", ctypes.pythonapi))
_NOBODY = ctypes.c_ulong(-1).value  # no thread has this number
_IN_A_ROW = 5


class _Watchdog(threading.Thread):
    """Raises `OutOfTime` in the thread that made it, again and again until its target is nobody.

    Where an exception is caught (`while True: try: ... except: pass`), the next must be there at once: outside of
    that `try`. So each exception, when it is made, sends another kind after itself, up to the last.
    """

    def __init__(self, seconds: float):
        super().__init__(daemon=True)
        self.seconds, self.armed, self.barked, self.stopped = seconds, False, False, False
        self.thread, self.is_main = threading.get_ident(), threading.current_thread() is threading.main_thread()
        self.over: SimpleQueue[None] = SimpleQueue()
        self.target = ctypes.c_ulong(self.thread)
        self.first: type = OutOfTime
        for _ in range(_IN_A_ROW - 1):
            after = staticmethod(partial(_send, self.target, self.first))
            self.first = type("OutOfTime", (OutOfTime,), {"__init__": after})

    def run(self) -> None:
        pause = self.seconds
        while True:
            with contextlib.suppress(Empty):
                return self.over.get(timeout=pause)
            pause = _AGAIN
            if self.armed:
                self.barked = True
                _send(self.target, self.first)
                if self.is_main and hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(self.thread, signal.SIGURG)

    def stop(self) -> None:
        """Takes back what has not arrived. Of single calls into C: an exception between them leaves no lock behind."""
        self.over.put(None)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), None)
        self.stopped = True


@contextlib.contextmanager
def _waiting_can_be_broken() -> Iterator[None]:
    """Lets a signal end a system call. SIGURG, since one that comes too late is ignored by default."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "pthread_kill"):
        yield
        return
    before = signal.signal(signal.SIGURG, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(signal.SIGURG, signal.SIG_DFL if before is None else before)
