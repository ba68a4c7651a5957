"""Latest value wins: a worker for sliders that never queues."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
ShouldStop = Callable[[], bool] | None  # asked between two steps of a computation: is its result no longer wanted?


class Latest(Generic[T]):
    """Runs `work(request)` in a thread of its own, always for the newest request.

    A request that arrives while another waits takes its place, so at most one is in work and one waiting,
    and the last one is always worked on. `work` may look at `waiting` between its steps, and give up when
    there is something newer. What it raises goes to `threading.excepthook`, and the next request works.
    """

    def __init__(self, work: Callable[[T], None]):
        self._work = work
        self._changed = threading.Condition()
        self._next: T | None = None
        self._busy = self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def waiting(self) -> T | None:
        """The request that would be next, None if there is none."""
        return self._next

    @property
    def closed(self) -> bool:
        return self._closed

    def submit(self, request: T) -> None:
        """Ask for `request` and return at once."""
        with self._changed:
            if self._closed:
                return
            self._next = request
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="latest-value", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until nothing is in work or waiting; False if that took longer than `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and self._next is None, timeout)

    def close(self) -> None:
        """Take no more requests, and let the thread end after the one in work."""
        with self._changed:
            self._closed, self._next = True, None
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._next is not None)
                request = self._next
                if self._closed or request is None:
                    return
                self._next, self._busy = None, True
            try:
                self._work(request)
            except BaseException:
                threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            del request  # which may hold pictures, while nothing is asked for
