"""A time limit for code that may never end: in any thread, on any system, without a process of its own."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 10.0
"""What a student's function may take in all the calls of one check. Set it higher for a slow machine."""

_AGAIN = 0.005  # seconds until the next exception, for code that catches everything


class OutOfTime(BaseException):
    """Raised inside code that took too long. No `Exception`, so that `except Exception` does not hold it up."""


def within(seconds: float, function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """The function's result, or `OutOfTime` in its midst once the seconds are over, whatever it catches.

    Python code is stopped at its next line, and waiting (`time.sleep`, `input`) in a main thread that knows Unix
    signals. A single long operation of torch or of another library ends by itself first.
    """
    watchdog = _Watchdog(seconds)
    with _waiting_can_be_broken():
        # Another exception may come while one is being handled, hence the second and the third `stop`.
        try:
            try:
                watchdog.start()
                result = function(*arguments, **keywords)
            except OutOfTime:
                raise
            except BaseException:
                watchdog.stop()
                if watchdog.barked:
                    raise OutOfTime from None
                raise
            finally:
                watchdog.stop()
            if watchdog.barked:
                raise OutOfTime
            return result
        except OutOfTime:
            watchdog.stop()
            raise
        finally:
            watchdog.stop()


class _Watchdog(threading.Thread):
    """Raises `OutOfTime` in the thread that made it, again and again until it is told to stop."""

    def __init__(self, seconds: float):
        super().__init__(daemon=True)
        self.seconds, self.barked = seconds, False
        self.thread, self.is_main = threading.get_ident(), threading.current_thread() is threading.main_thread()
        self.over, self.lock = threading.Event(), threading.RLock()

    def run(self) -> None:
        pause = self.seconds
        while not self.over.wait(pause):
            with self.lock:
                if self.over.is_set():
                    return
                self.barked, pause = True, _AGAIN
                _send(self.thread, OutOfTime)
                if self.is_main and hasattr(signal, "pthread_kill"):
                    signal.pthread_kill(self.thread, signal.SIGURG)

    def stop(self) -> None:
        stopped = False
        while not stopped:
            with contextlib.suppress(OutOfTime):
                with self.lock:
                    self.over.set()
                    _send(self.thread, None)  # takes back what has not arrived yet
                stopped = True


def _send(thread: int, error: type[BaseException] | None) -> None:
    what = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), what)


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
