"""Code that never ends is stopped, whatever it catches, and nothing strays into what comes after."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time

import pytest

from course_utils.lab.exercises import deadline
from course_utils.lab.exercises.classifier_free_guidance import cfg_combine
from course_utils.lab.exercises.deadline import OutOfTime, within


@pytest.fixture(autouse=True)
def no_collection():
    """Without the garbage collector: an exception that arrives in another library's callback for it is only printed."""
    gc.disable()
    yield
    gc.enable()


def forever():
    while True:
        pass


def catches_exceptions():
    while True:
        try:
            time.sleep(0)
        except Exception:
            pass


def catches_all():
    while True:
        try:
            sum(range(1000))
        except:  # noqa: E722 — the student's
            pass


def catches_all_and_goes_on():
    while True:
        try:
            time.sleep(0)
        except:  # noqa: E722
            time.sleep(0)


def catches_all_in_two_layers():
    while True:
        try:
            catches_all_and_goes_on()
        except BaseException:
            time.sleep(0)


def counts_in_a_generator():
    def numbers():
        while True:
            yield 1

    return sum(numbers())


def fibonacci(n=200):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


ENDLESS = [
    forever,
    catches_exceptions,
    pytest.param(
        catches_all, marks=pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="see the docstring of `within`")
    ),
    catches_all_and_goes_on,
    catches_all_in_two_layers,
    counts_in_a_generator,
    fibonacci,
]


@pytest.mark.parametrize("function", ENDLESS)
def test_code_that_never_ends_is_stopped(function):
    with pytest.raises(OutOfTime):
        within(0.1, function)


@pytest.mark.parametrize("function", ENDLESS)
def test_in_a_thread_too(function):
    outcome = []

    def work():
        try:
            within(0.1, function)
        except OutOfTime:
            outcome.append("stopped")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(60)
    assert outcome == ["stopped"]


@pytest.mark.skipif(sys.platform == "win32", reason="waiting is broken by Unix signals")
@pytest.mark.parametrize("wait", [lambda: time.sleep(600), lambda: os.read(os.pipe()[0], 1)])
def test_waiting_is_stopped(wait):
    before = signal.getsignal(signal.SIGURG)
    with pytest.raises(OutOfTime):
        within(0.1, wait)
    assert signal.getsignal(signal.SIGURG) is before


def test_what_ends_in_time_is_returned_and_its_errors_are_raised():
    assert within(60, lambda a, b: a - b, 5, b=2) == 3
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 / 0)
    with pytest.raises(KeyboardInterrupt):
        within(60, signal.default_int_handler, 2, None)


def test_an_answer_that_comes_after_the_end_is_none():
    def late():
        try:
            forever()
        except BaseException:
            return "late"

    with pytest.raises(OutOfTime):
        within(0.05, late)


def test_an_exception_in_place_of_the_end_is_the_end():
    def other():
        try:
            forever()
        finally:
            raise ValueError

    with pytest.raises(OutOfTime):
        within(0.05, other)


def test_nothing_strays_when_the_end_and_the_limit_come_together():
    def takes_six_milliseconds():
        until = time.perf_counter() + 0.006
        while time.perf_counter() < until:
            pass

    for k in range(400):
        with contextlib.suppress(OutOfTime):
            within(0.001 * (k % 8), takes_six_milliseconds)
        assert sum(range(200)) == 19900
    time.sleep(0.1)  # an exception on its way would arrive here


def test_a_check_says_where_it_was_stopped(monkeypatch, capsys):
    monkeypatch.setattr(deadline, "SECONDS", 0.2)

    def never_ends(eps_uncond, eps_cond, w):
        i = 0
        while i < 10:
            w = w + 1
        return eps_uncond

    assert cfg_combine(never_ends) is cfg_combine.course
    said = capsys.readouterr().out
    assert said.startswith("✗ cfg_combine: it had not ended after 0.2 seconds, and was stopped (line ")
    assert "does each loop come closer to its end" in said


def test_the_limit_is_for_all_calls_of_a_check_together(monkeypatch, capsys):
    monkeypatch.setattr(deadline, "SECONDS", 0.5)

    def slow(eps_uncond, eps_cond, w):
        time.sleep(0.4)
        return eps_uncond + w * (eps_cond - eps_uncond)

    cfg_combine(slow)
    assert "it had not ended after 0.5 seconds" in capsys.readouterr().out
