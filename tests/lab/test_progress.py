"""Progress: what a notebook keeps, what a log says, and how much drawing is done."""

import nbformat
import pytest
import torch
from nbclient import NotebookClient

from course_utils.lab import progress as module
from course_utils.lab.progress import Progress, left_over, summary


class Screen:
    """Stands where the notebook's display would."""

    pictorial = True

    def __init__(self):
        self.drawn, self.lines = [], []

    def draw(self, step, total, logs, losses, pictures, left):
        self.drawn.append((step, left, pictures))

    def end(self, line):
        self.lines.append(line)


@pytest.fixture
def clock(monkeypatch):
    """Time that moves only when told to."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    monkeypatch.setattr(module, "time", Clock())
    return module.time


@pytest.fixture
def screen(clock):
    progress = Progress("model")
    progress.show = Screen()
    return progress


def test_drawing_is_throttled_and_the_end_always_drawn(screen, clock):
    for step in range(1, 1001):
        clock.now += 0.01  # ten seconds in all
        screen(step, 1000, {"loss": 1 / step})
    drawn = [step for step, *_ in screen.show.drawn]
    assert 10 <= len(drawn) <= 10 / screen.every + 2
    assert drawn[0] == 1
    assert drawn[-1] == 1000
    assert screen.show.lines == ["model: 1000 steps · loss 1 → 0.001"]


def test_previews_cost_at_most_their_share(screen, clock):
    made = []

    def preview():
        clock.now += 0.5
        made.append(clock.now)
        return torch.zeros(2, 3, 8, 8)

    started = clock.now
    for step in range(1, 6001):
        clock.now += 0.01
        screen(step, 6000, {"loss": 1.0}, preview=preview)
    assert 0.5 * len(made) <= (module.OVERHEAD + 0.01) * (clock.now - started) + 1.0, "and one at each end"
    assert len(made) >= 4
    assert len(screen.show.drawn) > 10 * len(made), "the bar moves on between previews"
    assert screen.show.drawn[-1][2] is not None, "the last preview stays"


def test_time_left_is_extrapolated(screen, clock):
    for step in range(1, 5):
        clock.now += 2.0
        screen(step, 10, {"loss": 1.0})
    assert screen.show.drawn[-1][1] == pytest.approx(12.0), "six steps of two seconds"
    assert left_over(10.0) == "about 10 s left"
    assert left_over(600) == "about 10 min left"
    assert left_over(None) == ""


def test_closing_early_says_so_and_closing_twice_nothing(screen, clock):
    for step in (5, 10):
        clock.now += 1.0
        screen(step, 100, {"loss": 2.0})
    assert screen.show.drawn[-1][1] is not None
    screen.close()
    screen.close()
    assert screen.show.lines == ["model: stopped at step 10 of 100 · loss 2 → 2"]
    assert screen.show.drawn[-1][1] is None, "no time in what is kept"


def test_one_progress_can_follow_two_runs(screen):
    for _ in range(2):
        for step in (1, 2):
            screen(step, 2, {"loss": 3.0 - step})
    assert screen.show.lines == ["model: 2 steps · loss 2 → 1"] * 2


def test_nothing_logged_nothing_shown():
    with Progress("idle"):
        pass
    assert summary("idle", 5, 5, []) == "idle: 5 steps"


def test_the_picture_shows_the_way_gone():
    losses = [(i, 100 * 0.9**i) for i in range(60)]
    whole = module.draw("m", 100, 100, {"loss": 1.0}, losses, None, None)
    half = module.draw("m", 50, 100, {"loss": 1.0}, losses, None, 3.0)
    blue, y = (0, 0x72, 0xB2), 24 + module.BAR // 2
    filled = [sum(image.getpixel((x, y)) == blue for x in range(module.WIDTH)) for image in (half, whole)]
    assert filled[0] == pytest.approx(module.WIDTH / 2, abs=4)
    assert filled[1] == pytest.approx(module.WIDTH, abs=4)
    module.draw("m", 1, 0, {}, [(1, float("inf"))], None, None)  # odd input is drawn, not raised


def test_a_log_file_gets_a_line_for_each_tenth(capsys):
    progress = Progress("model", every=0.0)
    progress.show.live = False
    for step in range(1, 101):
        progress.next_draw = 0.0
        progress(step, 100, {"loss": 0.5, "kl": 2.0})
    out, err = capsys.readouterr()
    lines = out.strip().split("\n")
    assert len(lines) == 11
    assert lines[0].startswith("step 1 of 100 · loss 0.5 · kl 2")
    assert lines[-1] == "model: 100 steps · loss 0.5 → 0.5"
    assert err == ""


def test_a_terminal_gets_one_line(capsys):
    progress = Progress("model")
    progress.show.live = True
    progress(1, 4, {"loss": 1.0})
    progress(4, 4, {"loss": 0.5})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert "█" in out
    assert out.endswith("model: 4 steps · loss 1 → 0.5\n")


CELL = """
import torch
from course_utils.lab.progress import Progress
progress = Progress("denoiser", every=0.0)
for step in range(1, 6):
    progress.next_draw = 0.0
    progress(step, 5, {"loss": 1.0 / step}, preview=lambda: torch.zeros(4, 3, 16, 16))
"""


def test_a_saved_notebook_keeps_one_picture_and_one_line():
    """And a tool that looks only at first displays, as nbval does, sees the same text as one that updates."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    shown = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] in ("display_data", "stream"):
                shown.append(message["content"])
            return super().process_message(message, cell, index)

    Client(notebook, timeout=300, kernel_name="python3", store_widget_state=False).execute()
    picture, line = notebook.cells[0].outputs
    assert picture.output_type == "display_data"
    assert set(picture.data) == {"image/png", "text/plain"}
    assert line == {"output_type": "stream", "name": "stdout", "text": "denoiser: 5 steps · loss 1 → 0.2\n"}
    assert len(shown) == 2, "one display, and updates of it"
    assert shown[0]["data"]["text/plain"] == picture.data["text/plain"]
    assert shown[0]["data"]["image/png"] != picture.data["image/png"]
    assert "widgets" not in notebook.metadata
