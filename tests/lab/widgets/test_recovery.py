"""After any raise, wherever it happens, the reader is told and the next request works."""

import sys
import threading

import ipywidgets
import pytest

from course_utils.lab.widgets.base import WRONG
from course_utils.lab.widgets.latest import Latest
from tests.lab.widgets.test_base import SECONDS, Number, NumberRequest

RAISES = [
    ValueError("no"),
    MemoryError(),
    SystemExit(1),
    KeyboardInterrupt(),
    GeneratorExit(),
    RecursionError(),
    OSError(),
]


@pytest.fixture
def told(monkeypatch):
    """What reached `threading.excepthook`."""
    seen = []
    monkeypatch.setattr(threading, "excepthook", lambda args: seen.append(args.exc_value))
    return seen


@pytest.mark.parametrize("error", RAISES, ids=repr)
def test_the_worker_outlives_what_its_work_raises(error, told):
    done = []

    def work(request):
        if request == "bad":
            raise error
        done.append(request)

    latest = Latest(work)
    for request in ("good", "bad", "better"):
        latest.submit(request)
        assert latest.wait(SECONDS)
    latest.close()
    latest._thread.join(SECONDS)
    assert done == ["good", "better"]
    assert told == [error], "and nothing is lost"


@pytest.fixture
def widget():
    made = Number()
    yield made
    made.close()


def asks(widget, number):
    widget.number.value = number
    assert widget.wait(SECONDS)


def works(widget):
    asks(widget, 8)
    assert widget.shown == NumberRequest(8)
    assert widget.image.value == b"8"
    assert WRONG not in widget.status.value


@pytest.mark.parametrize("error", RAISES, ids=repr)
@pytest.mark.parametrize("where", ["compute", "show", "busy", "outdated"])
def test_what_the_worker_raises_is_said(widget, where, error, monkeypatch, told):
    def broken(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(widget.core if where == "compute" else widget, where, broken)
        asks(widget, 7)
        assert ("no" if isinstance(error, ValueError) else type(error).__name__) in widget.status.value
    assert told == []
    works(widget)


def test_half_a_result_is_drawn_again(widget, monkeypatch):
    asks(widget, 7)

    def half(result):
        widget.image.value = b"half"
        raise OSError("the connection is gone")

    with monkeypatch.context() as patch:
        patch.setattr(widget, "show", half)
        asks(widget, 6)
    assert widget.shown is None
    asks(widget, 7)
    assert (widget.shown, widget.image.value) == (NumberRequest(7), b"7")


def test_when_not_even_the_error_can_be_said(widget, monkeypatch, told):
    gone = OSError("the connection is gone")

    def say(*_, **__):
        raise gone

    with monkeypatch.context() as patch:
        patch.setattr(widget, "say", say)
        asks(widget, 7)
    assert told == [gone]
    works(widget)


def test_a_closed_connection_does_not_stop_the_worker(widget, monkeypatch, told):
    def send(*_, **__):
        raise RuntimeError("closed")

    with monkeypatch.context() as patch:
        patch.setattr(widget.status, "send_state", send)
        widget.refresh()
        assert widget.wait(SECONDS)
    assert [str(error) for error in told] == ["closed"]
    works(widget)


@pytest.mark.parametrize("error", [ValueError("no"), KeyError("x"), MemoryError()], ids=repr)
def test_a_request_that_cannot_be_read_is_said(widget, monkeypatch, error):
    def request(self):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Number, "request", property(request))
        asks(widget, 7)
        assert WRONG in widget.status.value
        assert "text/plain" in widget._repr_mimebundle_(), "and the widget is shown"
    works(widget)


def test_a_listener_that_raises_is_said_and_hears_again(widget):
    heard, button = [], ipywidgets.Button()

    def press(_):
        with widget.syncing():
            heard.append(widget._syncing)
            if len(heard) == 1:
                raise KeyError("first")

    button.on_click(widget.listener(press))
    button.click()
    assert "KeyError" in widget.status.value
    button.click()
    assert heard == [True, True]
    assert not widget._syncing
    works(widget)
    button.close()


def test_leaving_is_said_and_not_done(widget, monkeypatch):
    monkeypatch.setattr(widget.core, "compute", lambda *_, **__: sys.exit("bye"))
    asks(widget, 7)
    assert "SystemExit: bye" in widget.status.value
    assert widget._worker._thread.is_alive()
