"""A cell that runs again gives back what its last run made: threads, widgets, cores."""

import gc
import subprocess
import sys
import threading
import weakref
from types import SimpleNamespace

import IPython
import ipywidgets
import pytest
import torch
from ipywidgets.widgets.widget import _instances

from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from course_utils.diffusion.threaded import ThreadedPipeline
from course_utils.lab.widgets import cells
from course_utils.lab.widgets.base import LiveWidget
from course_utils.lab.widgets.explorer_core import CFGExplorerCore
from course_utils.lab.widgets.generator_core import GeneratorCore
from course_utils.lab.widgets.picker import PlushiePicker
from tests.lab.widgets.test_base import MAKERS, SECONDS, Number, pictures


@pytest.fixture
def cell(monkeypatch):
    """`cell("a")`: from here on, a run of cell a; `cell("a")` again is its next run."""
    asked, runs = {}, iter(range(10_000))
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(get_parent=lambda: asked))
    monkeypatch.setattr(cells, "_made", {})

    def runs_now(name, code="", kind="execute_request"):
        asked["header"] = {"msg_type": kind, "msg_id": str(next(runs))}
        asked["metadata"] = {"cellId": name} if name else {}
        asked["content"] = {"code": code}

    yield runs_now
    for _, made in cells._made.values():
        for widget in list(made):
            widget.close()


def closed(widget):
    return widget.comm is None


def test_a_cell_that_runs_again_closes_what_it_made(cell):
    cell("a")
    one, two = Number(), Number()
    cell("b")
    other = Number()
    cell("a")
    assert not closed(one), "the run has made nothing yet"
    new = Number()
    assert [closed(w) for w in (one, two, other, new)] == [True, True, False, False]
    cell("a")
    last = MAKERS[PlushiePicker]()
    assert closed(new), "of whatever class"
    assert not closed(other)
    assert not closed(last)


def test_without_the_cells_name_the_same_text_is_the_same_cell(cell):
    made = {}
    for text in ("Number()", "second = Number()", "Number()"):
        cell(None, text)
        made.setdefault(text, []).append(Number())
    assert [closed(w) for w in made["Number()"]] == [True, False]
    assert [closed(w) for w in made["second = Number()"]] == [False]


def test_a_button_or_a_script_replaces_nothing(cell, monkeypatch):
    cell("a")
    made = [Number()]
    cell("a", kind="comm_msg")  # a button of that cell was pressed
    made.append(Number())
    for shell in (None, SimpleNamespace(), SimpleNamespace(get_parent=dict)):
        monkeypatch.setattr(IPython, "get_ipython", lambda shell=shell: shell)
        made += [Number(), Number()]
    assert not any(closed(w) for w in made)
    for widget in made:
        widget.close()


@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind.__name__)
def test_running_a_cell_again_keeps_nothing(kind, cell):
    out, cores, threads = [], [], []  # a notebook's Out keeps every widget that a cell ended with
    for _ in range(5):
        cell("a")
        widget = kind_with_a_core_that_can_die(kind)
        widget._repr_mimebundle_()
        assert widget.wait(SECONDS)
        out.append(widget)
        cores.append(weakref.ref(widget.core))
        threads.append(widget._worker._thread)
        if len(out) == 1:
            alive = len(_instances)
        assert len(_instances) == alive, "layouts and styles are widgets, too"
    del widget
    for thread in threads[:-1]:
        thread.join(SECONDS)
        assert not thread.is_alive()
    gc.collect()
    assert [core() is None for core in cores] == [True] * 4 + [False]
    assert all(w.value == b"" for old in out[:-1] for w in vars(old).values() if isinstance(w, ipywidgets.Image))
    out[-1].close()
    out[-1].close()
    assert len(_instances) < alive


def kind_with_a_core_that_can_die(kind):
    made = MAKERS[kind]()
    if isinstance(made.core, SimpleNamespace):
        made.core = Core(**vars(made.core))
    return made


class Core(SimpleNamespace):
    """A stand-in that says at once that it was told to stop."""

    def compute(self, request, should_stop=None):
        return None


def test_a_closed_widget_says_so(cell):
    widget = Number()
    widget.close()
    with pytest.raises(RuntimeError, match="this widget is closed.*run the cell"):
        widget.core.compute(1)


def test_a_constructor_that_raises_leaves_nothing_when_the_cell_runs_again(cell):
    class Broken(LiveWidget):
        def __init__(self):
            super().__init__(SimpleNamespace())
            self.controls = {"a": [ipywidgets.IntText(0)]}
            ipywidgets.Text(5)

    before = len(_instances)
    cell("a")
    with pytest.raises(Exception, match="unicode string"):
        Broken()
    cell("a")
    Number().close()
    gc.collect()
    left = [type(w).__name__ for w in _instances.values()][before:]
    assert not {"Broken", "IntText", "HTML"} & set(left), "but for what the control that raised has made itself"


@pytest.fixture
def pipeline():
    torch.manual_seed(0)
    denoiser = torch.nn.Module()
    denoiser.null, denoiser.config = torch.zeros(4), SimpleNamespace(channels=1, side=2)
    denoiser.forward = lambda z, t, cond: z
    return TextToPicture(SimpleNamespace(to_picture=lambda z: z.repeat(1, 3, 1, 1)), None, denoiser, RectifiedFlow())


def drawing_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("pictures")]


def ended(threads):
    for thread in threads:
        thread.join(SECONDS)
    return not any(thread.is_alive() for thread in threads)


def test_a_threaded_pipeline_ends_its_threads_and_starts_new_ones_when_asked(pipeline):
    before = set(drawing_threads())
    shared = ThreadedPipeline(pipeline, 2)
    first = shared.generate("", 2, steps=1)
    started = [thread for thread in drawing_threads() if thread not in before]
    assert started
    shared.close()
    shared.close()
    assert ended(started)
    assert torch.equal(shared.generate("", 2, steps=1), first)
    shared.close()


def test_cores_close_their_pipelines(pipeline, monkeypatch):
    def shared(of):
        return ThreadedPipeline(of, 2)

    asked = []
    monkeypatch.setattr(ThreadedPipeline, "close", lambda self: asked.append(self))
    one = CFGExplorerCore({"the course's": shared(pipeline), "yours": shared(pipeline)})
    many = GeneratorCore(
        {"sharp": shared(pipeline), "soft": shared(pipeline)}, None, pictures(1), torch.zeros(1, 6, dtype=torch.long)
    )
    one.close()
    many.close()
    assert asked == [*one.pipelines.values(), *many.pipelines.values()]
    widget = Number()
    widget.core = one
    widget.close()
    assert asked[-2:] == [*one.pipelines.values()]


def test_widgets_are_made_and_closed_outside_of_ipython():
    lines = [
        "from tests.lab.widgets.test_base import Number, SECONDS",
        "import sys",
        "widget = Number(); widget.refresh(); assert widget.wait(SECONDS)",
        "thread = widget._worker._thread; widget.close(); thread.join(SECONDS); assert not thread.is_alive()",
    ]
    subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(lines)], check=True, timeout=SECONDS)
