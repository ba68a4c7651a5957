"""Predictions: the first click counts, what stands in the notebook's text is the same for everybody, nothing waits."""

import subprocess
import sys

import ipywidgets
import pytest

from course_utils.lab.widgets import predict
from course_utils.lab.widgets.predict import Prediction
from course_utils.lab.widgets.predict_core import PredictionCore, PredictionRequest

SECONDS = 60  # after which a test that waits has failed
QUESTION, ANSWERS, WHY = "What is <larger>?", ["1 & 2", "two", "both"], "It has more of everything."


@pytest.fixture
def guess():
    made = Prediction(QUESTION, ANSWERS)
    made.refresh()
    assert made.wait(SECONDS)
    yield made
    made.close()


@pytest.fixture
def displayed(monkeypatch):
    """What was displayed below figures."""
    seen = []
    monkeypatch.setattr(predict, "display", seen.append)
    return seen


def verdict(guess):
    assert guess.wait(SECONDS)
    return guess.verdicts[-1].value


def test_the_first_choice_counts():
    core = PredictionCore(QUESTION, ANSWERS)
    assert core.choose(1)
    assert not core.choose(0)
    assert core.chosen == 1


@pytest.mark.parametrize(
    ("chosen", "mark", "says"),
    [
        (None, "", "The answer: two. It has more of everything."),
        (0, "✗", "You said: 1 & 2. The answer: two. It has more of everything."),
        (1, "✓", "You said: two. That is right. It has more of everything."),
    ],
)
def test_what_is_told_below_the_figure(chosen, mark, says):
    core = PredictionCore(QUESTION, ANSWERS)
    before = core.compute(PredictionRequest(chosen))
    assert (before.mark, before.verdict, core.told) == ("", "", ""), "nothing is given away before the figure"
    core.reveal("two", WHY)
    after = core.compute(PredictionRequest(chosen))
    assert (after.mark, after.verdict) == (mark, says)
    assert core.told == "The answer: two. It has more of everything.", "the same for everybody"


@pytest.mark.parametrize(
    ("question", "answers", "says"),
    [
        ("", ["a", "b"], "question: got ''"),
        ("two\nlines", ["a", "b"], "question: got"),
        (3, ["a", "b"], "question is 3"),
        ("q", "ab", "answers: got 'ab'; expected a list of 2 to 5"),
        ("q", ["a"], "answers: got"),
        ("q", list("abcdef"), "answers: got"),
        ("q", ["a", "a"], "expected each of them once"),
        ("q", ["a", " "], "answers: got ' '"),
        ("q", ["a", None], "answers is None"),
    ],
)
def test_questions_that_are_none(question, answers, says):
    with pytest.raises(ValueError, match=says):
        PredictionCore(question, answers)


def test_answers_that_are_none():
    core = PredictionCore(QUESTION, ANSWERS)
    with pytest.raises(ValueError, match="right: got 'three'; expected one of the answers"):
        core.reveal("three", WHY)
    with pytest.raises(ValueError, match="why: got ''"):
        core.reveal("two", "")
    with pytest.raises(ValueError, match="number is 3; expected a whole number from 0 to 2"):
        core.choose(3)
    assert (core.right, core.chosen) == (None, None)


def test_a_click_locks_all_buttons(guess):
    assert [b.description for b in guess.buttons] == ANSWERS
    guess.buttons[1].click()
    assert guess.wait(SECONDS)
    assert "You said: two" in guess.status.value
    guess.buttons[0].click()  # as a second click that was on its way
    assert guess.wait(SECONDS)
    assert guess.request == PredictionRequest(1)
    assert all(b.disabled for b in guess.buttons)
    assert [b.icon for b in guess.buttons] == ["", "arrow-right", ""]


def test_the_text_is_the_same_whatever_was_chosen(displayed):
    texts = set()
    for chosen in (None, 0, 1):
        guess = Prediction(QUESTION, ANSWERS)
        if chosen is not None:
            guess.buttons[chosen].click()
        guess.answer("two", WHY)
        texts.add((repr(displayed[-1]), displayed[-1]._repr_mimebundle_()["text/plain"]))
        guess.close()
    assert texts == {("The answer: two. It has more of everything.",) * 2}


def test_whoever_has_chosen_is_told_how_it_went(guess, displayed):
    guess.buttons[0].click()
    guess.answer("two", WHY)
    assert "✗" in verdict(guess)
    assert "You said: 1 &amp; 2. The answer: two." in verdict(guess)
    bundle = displayed[0]._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == guess.verdicts[0].model_id


def test_whoever_chooses_after_run_all_is_told_then(guess, displayed):
    guess.answer("two", WHY)
    assert "You said" not in verdict(guess)
    assert "The answer: two." in verdict(guess)
    guess.buttons[1].click()
    assert "✓" in verdict(guess)
    assert "You said: two. That is right." in verdict(guess)


def test_a_figure_that_is_drawn_again_tells_again(guess, displayed):
    guess.answer("two", WHY)
    guess.verdicts[0].close()  # as its cell does when it runs again
    guess.answer("both", WHY)
    assert len(guess.verdicts) == 1
    assert "The answer: both." in verdict(guess)


def test_texts_are_no_tags(guess):
    assert "What is &lt;larger&gt;?" in guess.children[0].value
    assert guess.fallback == "Your prediction: What is <larger>?\n  A  1 & 2\n  B  two\n  C  both"


def test_the_verdict_is_closed_when_its_cell_runs_again(guess, displayed, monkeypatch):
    made = []
    monkeypatch.setattr(predict.cells, "made", made.append)
    guess.answer("two", WHY)
    assert made == guess.verdicts
    assert isinstance(made[0], ipywidgets.HTML)


def test_in_a_script_the_answer_is_printed():
    lines = [
        "from course_utils.lab.widgets.predict import Prediction",
        f"Prediction({QUESTION!r}, {ANSWERS!r}).answer('two', {WHY!r})",
    ]
    run = [sys.executable, "-W", "error", "-c", "\n".join(lines)]
    done = subprocess.run(run, check=True, timeout=SECONDS, capture_output=True, text=True)
    assert done.stdout.strip() == "The answer: two. It has more of everything."
