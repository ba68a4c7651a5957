"""The explorer with a student: drafts while w is dragged, exact pictures when it rests, and what a student cannot do."""

import pytest

from course_utils.lab.widgets import picture_rows as module
from course_utils.lab.widgets.explorer import CFGExplorer
from course_utils.lab.widgets.explorer_core import SCALES, CFGExplorerCore, CFGRequest
from course_utils.lab.widgets.judged import FAST_STEPS
from tests.lab.widgets.test_explorer import FakeJudge, FakePipeline, busy, images, settle


@pytest.fixture
def pair(monkeypatch):
    """Teacher and student; every exact picture counts as slow."""
    monkeypatch.setattr(module, "INSTANT", -1.0)
    return FakePipeline(), FakePipeline(grey=-0.5)


@pytest.fixture
def explorer(pair):
    made = CFGExplorer({"the course's": pair[0]}, FakeJudge(), {"the course's": pair[1]})
    yield made
    pair[0].gate.set()
    made.close()


def test_a_moved_w_shows_a_draft_first_and_then_the_exact_pictures(explorer, pair):
    teacher, student = pair
    explorer.refresh()
    settle(explorer)
    assert (teacher.finished, student.finished) == ([3.0], []), "nothing was dragged yet"
    busy(explorer, teacher, w=7.0)  # the exact ones are in work
    assert student.finished == [7.0]
    assert explorer.shown.request.fast
    assert f"w = 7 · 'a cat' · seed 0 · {FAST_STEPS} fast steps" in explorer.label.value.replace("&#x27;", "'")
    draft = images(explorer)[0]
    teacher.gate.set()
    settle(explorer)
    assert teacher.finished == [3.0, 7.0]
    assert not explorer.shown.request.fast
    assert images(explorer)[0] != draft


def test_during_a_drag_drafts_follow_and_exact_pictures_are_given_up(explorer, pair):
    teacher, student = pair
    explorer.refresh()
    settle(explorer)
    busy(explorer, teacher, w=4.0)
    explorer.w.value = 9.5
    teacher.gate.set()
    settle(explorer)
    assert student.finished == [4.0, 9.5]
    assert teacher.finished == [3.0, 9.5]
    assert (explorer.shown.request.guidance_scale, explorer.shown.request.fast) == (9.5, False)


def test_fast_means_the_student_alone_for_pictures_and_strip(explorer, pair):
    teacher, student = pair
    explorer.pace.value = True
    settle(explorer)
    assert (teacher.finished, teacher.strips) == ([], [])
    assert (student.finished, student.strips) == ([3.0], [0])
    assert explorer.request.fast


@pytest.mark.parametrize(
    ("what", "value"), [("negative", "hat"), ("sampler", "heun"), ("w", -1.0)], ids=["negative", "sampler", "w"]
)
def test_what_a_student_cannot_do_is_drawn_exactly_and_said(explorer, pair, what, value):
    teacher, student = pair
    explorer.pace.value = True
    settle(explorer)
    getattr(explorer, what).value = value
    settle(explorer)
    assert len(teacher.finished) == 1
    assert len(student.finished) == 1, "the one before"
    assert "exact: the fast model knows" in explorer.status.value
    assert "fast steps" not in explorer.label.value


def test_a_quick_machine_needs_no_drafts(explorer, pair, monkeypatch):
    monkeypatch.setattr(module, "INSTANT", 1e9)
    explorer.refresh()
    settle(explorer)
    explorer.w.value = 8.0
    settle(explorer)
    assert pair[1].finished == []


def test_another_prompt_has_no_draft(explorer, pair):
    explorer.refresh()
    settle(explorer)
    explorer.prompt.value = "a bear"
    settle(explorer)
    assert pair[1].finished == []


def test_without_a_student_there_is_no_switch(pair):
    made = CFGExplorer(pair[0], FakeJudge())
    assert made.pace not in made.children
    made.close()
    with_one = CFGExplorer(pair[0], FakeJudge(), pair[1])
    assert with_one.pace in with_one.children
    with_one.close()


def test_a_student_of_an_unknown_model_is_refused(pair):
    with pytest.raises(ValueError, match="students: got one of 'yours'; expected names of pipelines"):
        CFGExplorerCore({"the course's": pair[0]}, None, {"yours": pair[1]})


def test_the_core_draws_strips_by_the_student_from_0_up(pair):
    core = CFGExplorerCore(pair[0], None, pair[1])
    core.strip(CFGRequest("a bear", -2.0, fast=True), SCALES)
    assert (pair[0].strips, pair[1].strips) == ([], [0])
    core.strip(CFGRequest("a bear", fast=True), (-2.0, 0.0))
    assert (pair[0].strips, pair[1].strips) == ([0], [0])
    assert core.compute(CFGRequest("a bear", fast=True), should_stop=lambda: True) is None
