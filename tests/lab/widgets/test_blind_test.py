"""The blind test: fair, repeatable, blind, and right about the score."""

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils.lab.widgets.blind_test import BlindTestWidget
from course_utils.lab.widgets.blind_test_core import SCALE, BlindTest

SECONDS = 60  # after which a test that waits has failed
N = 6
REAL = torch.linspace(-1, 1, N)[:, None, None, None].expand(N, 3, 8, 8)
COPIES = {"soft": REAL * 0.5 + 0.01, "loud": REAL + 3.0}


@pytest.fixture
def test():
    return BlindTest(REAL, COPIES, seed=1)


def test_a_question_holds_the_real_picture_and_its_own_copy(test):
    for number in range(40):
        q = test.question(number)
        real, copy = (q.left, q.right) if q.real == "left" else (q.right, q.left)
        assert torch.equal(real, REAL[q.picture])
        assert torch.equal(copy, COPIES[q.decoder][q.picture].clamp(-1, 1))


def test_questions_are_balanced_and_depend_on_the_seed_alone(test):
    asked = [test.question(i) for i in range(200)]
    assert sum(q.decoder == "soft" for q in asked) == 100
    assert 70 < sum(q.real == "left" for q in asked) < 130
    assert {q.picture for q in asked} == set(range(N))
    key = [(q.decoder, q.picture, q.real) for q in asked]
    again, other = BlindTest(REAL, COPIES, seed=1), BlindTest(REAL, COPIES, seed=2)
    assert key == [(q.decoder, q.picture, q.real) for q in map(again.question, range(200))]
    assert key != [(q.decoder, q.picture, q.real) for q in map(other.question, range(200))]


def test_answers_are_counted_by_decoder(test):
    for number in range(10):
        wrong = {"left": "right", "right": "left"}
        real = test.question().real
        right, asked = test.answer(real if number < 6 else wrong[real])
        assert right == (number < 6)
        assert asked.picture == test.question(number).picture
    assert test.number == 10
    assert test.score.asked == {"soft": 5, "loud": 5}
    assert sum(test.score.right.values()) == 6
    assert math.isnan(test.score.share("nobody"))


def test_a_rule_can_take_the_test(test):
    # A real picture here is grey of any level; the loud copy is always white.
    score = test.play(lambda left, right: "left" if float(left.mean()) < float(right.mean()) else "right", 60)
    assert score.asked == {"soft": 30, "loud": 30}
    assert score.share("loud") > 0.7
    assert test.number == 0
    assert not test.score.asked
    assert 0.2 < test.play(lambda left, right: "left", 200).share("soft") < 0.8


def test_pictures_are_encoded_without_loss_and_without_a_name(test):
    q = test.question()
    for encoded, picture in zip(q.encoded(), (q.left, q.right), strict=True):
        shown = np.asarray(Image.open(io.BytesIO(encoded)))
        assert shown.shape == (8 * SCALE, 8 * SCALE, 3)
        expected = ((picture[:, 0, 0] + 1) * 127.5).round().byte().numpy()
        assert (shown == expected).all()
        assert b"soft" not in encoded
        assert b"loud" not in encoded


def test_still(test):
    wide, small = test.still(4), test.still(2)
    assert wide.width == small.width > 8 * 2 * 4
    assert wide.height > small.height


def test_bad_input(test):
    with pytest.raises(ValueError, match="side: got 'middle'"):
        test.answer("middle")
    with pytest.raises(ValueError, match="'soft' has shape"):
        BlindTest(REAL, {"soft": REAL[:2]})
    with pytest.raises(ValueError, match="got none"):
        BlindTest(REAL, {})


def test_the_widget_keeps_score_and_does_not_tell_before():
    widget = BlindTestWidget(REAL, {"<soft>": COPIES["soft"]}, seed=3)
    widget.choose("left")
    assert widget.core.number == 0, "nobody answers a question that they have not seen"
    widget.refresh()
    assert widget.wait(SECONDS)
    shown = widget.images[0].value
    real = widget.core.question().real
    assert real not in widget.status.value
    assert "decoder" not in widget.status.value
    widget.buttons[0 if real == "left" else 1].click()
    assert widget.wait(SECONDS)
    assert "✓ right" in widget.verdict.value
    assert "&lt;soft&gt;" in widget.verdict.value
    assert "1 of 1" in widget.table.value
    assert "Question 2" in widget.status.value
    assert (widget.images[0].value, widget.images[1].value) == widget.core.question(1).encoded() != (shown, shown)
    widget.buttons[1 if widget.core.question().real == "left" else 0].click()
    assert widget.wait(SECONDS)
    assert "✗ no" in widget.verdict.value
    assert "1 of 2" in widget.table.value
    widget.close()
