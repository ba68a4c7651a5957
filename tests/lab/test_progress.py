"""Progress: what a notebook keeps, what a log says, and how much drawing is done."""

from __future__ import annotations

import io
import sys

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


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "values",
    [
        (1.0, NAN, 2.0), (NAN, NAN, NAN), (1.0, INF, 2.0), (1.0, -INF, 3.0), (1e308, -1e308, 0.0), (1e300, 1e-300, 1.0),
        (5e-324, 1.0, 1e308), (0.0, 0.0, 0.0), (torch.tensor(2.0, requires_grad=True), torch.tensor([1.0]), 3),
        (None, "much", 10**400),
    ],
)  # fmt: skip
def test_whatever_is_logged_is_drawn(screen, clock, values):
    drawn = []
    screen.show.draw = lambda *state: drawn.append(module.draw("model", *state))
    for step, value in enumerate(values, start=1):
        clock.now += 10
        screen(step, 3, {"loss": value, "n" * 300: value})
    assert len(drawn) == 3
    assert {image.size for image in drawn} == {drawn[0].size}
    assert len(screen.show.lines) == 1
    assert screen.show.lines[0].startswith("model: 3 steps · loss ")


def test_a_value_that_is_not_finite_leaves_a_gap_and_the_rest_in_place():
    falling = [(i, 10.0 - i) for i in range(10)]
    with_gaps = sorted([*falling, (2.5, NAN), (4.5, INF), (5.5, -INF)])
    plain, holes = (module.draw("m", 9, 9, {}, losses, None, None) for losses in (falling, with_gaps))
    assert plain.tobytes() == holes.tobytes()


def test_a_huge_span_is_drawn_within_its_frame():
    image = module.draw("m", 3, 3, {}, [(1, 1.7e308), (2, 0.0), (3, -1.7e308)], None, None)
    blue = [
        (x, y) for x in range(image.width) for y in range(40, image.height) if image.getpixel((x, y)) == (0, 0x72, 0xB2)
    ]
    assert min(y for _, y in blue) < 70
    assert max(y for _, y in blue) > image.height - 50


def raises():
    raise RuntimeError("the preview\nbroke")


@pytest.mark.parametrize(
    ("preview", "says"),
    [
        (raises, "RuntimeError: the preview broke"),
        (lambda: torch.full((2, 3, 8, 8), NAN), "NaN"),
        (lambda: torch.zeros(0, 3, 8, 8), "none"),
        (lambda: torch.zeros(2, 4, 8, 8), "(2, 4, 8, 8)"),
        (lambda: None, "TypeError"),
        ("no picture", "AttributeError"),
    ],
)
def test_a_preview_that_fails_costs_a_line_and_no_training(screen, clock, preview, says):
    for step in range(1, 101):
        clock.now += 1.0
        screen(step, 100, {"loss": 1.0}, preview)
    assert len(screen.show.lines) == 1
    assert screen.show.lines[0].startswith("model: 100 steps · loss 1 → 1 · no new pictures (")
    assert says in screen.show.lines[0]
    assert "\n" not in screen.show.lines[0]


def test_a_preview_that_recovers_is_shown_and_forgiven(screen, clock):
    outcomes = iter([raises, *[lambda: torch.zeros(2, 3, 8, 8)] * 100])
    for step in range(1, 101):
        clock.now += 1.0
        screen(step, 100, {"loss": 1.0}, lambda: next(outcomes)())
    assert screen.show.lines == ["model: 100 steps · loss 1 → 1"]
    assert screen.show.drawn[-1][2] is not None


def interrupt():
    raise KeyboardInterrupt


def test_an_interrupt_while_drawing_ends_with_one_line(screen, clock):
    def train():
        with screen:
            for step in range(1, 101):
                clock.now += 1.0
                screen(step, 100, {"loss": 1.0}, interrupt if step == 40 else None)
                screen.next_preview = 0

    with pytest.raises(KeyboardInterrupt):
        train()
    screen.close()
    assert screen.show.lines == ["model: stopped at step 40 of 100 · loss 1 → 1"]


def test_an_interrupt_of_the_last_drawing_does_not_swallow_the_line(screen, clock):
    screen(1, 2, {"loss": 1.0})
    with pytest.raises(KeyboardInterrupt):
        screen(2, 2, {"loss": 1.0}, interrupt)
    screen.close()
    assert screen.show.lines == ["model: 2 steps · loss 1 → 1"]


def test_who_stops_a_run_does_not_wait_for_a_preview(screen, clock):
    made = []
    screen(1, 100, {"loss": 1.0}, lambda: made.append(1) or torch.zeros(2, 3, 8, 8))
    screen.close()
    assert made == [1], "the one at the start"
    assert screen.show.lines == ["model: stopped at step 1 of 100 · loss 1 → 1"]


def test_a_run_that_broke_off_is_told_before_the_next_begins(screen, clock):
    for step in (10, 20, 30):
        screen(step, 100, {"loss": 3.0})
    for step in (10, 100):
        screen(step, 100, {"loss": 1.0})
    assert screen.show.lines == ["model: stopped at step 30 of 100 · loss 3 → 3", "model: 100 steps · loss 1 → 1"]


def test_a_stopped_run_can_go_on(screen, clock):
    screen(10, 100, {"loss": 3.0})
    screen.close()
    screen(20, 100, {"loss": 2.0})
    screen(100, 100, {"loss": 1.0})
    assert screen.show.lines == ["model: stopped at step 10 of 100 · loss 3 → 3", "model: 100 steps · loss 2 → 1"]


def test_steps_beyond_the_end_and_no_steps_at_all(screen, clock):
    for step in range(1, 6):
        screen(step, 3, {"loss": 1.0})
    screen(1, 0, {"loss": 1.0})
    assert screen.show.lines == ["model: 3 steps · loss 1 → 1", "model: 1 step · loss 1 → 1"]


class Broken(io.StringIO):
    """A pipe that nobody reads any more."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def closed():
    out = io.StringIO()
    out.close()
    return out


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("out", [Broken, closed, lambda: None])
def test_a_terminal_that_is_gone_ends_no_training(monkeypatch, out, live):
    monkeypatch.setattr(sys, "stdout", out())
    progress = Progress("model", every=0.0)
    progress.show.live = live
    for step in range(1, 11):
        progress.next_draw = 0.0
        progress(step, 10, {"loss": 1.0})
    assert not progress.open


@pytest.mark.parametrize(("encoding", "arrow"), [("ascii", b"?"), ("cp1252", b"?"), ("utf-8", "→".encode())])
def test_a_terminal_gets_the_letters_that_it_knows(monkeypatch, encoding, arrow):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    progress = Progress("model", every=0.0)
    progress.show.live = True
    progress(1, 2, {"loss": 1.0})
    progress(2, 2, {"loss": 1.0})
    assert raw.getvalue().rstrip().endswith(b"loss 1 " + arrow + b" 1")


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
