"""The six numbers of notebook 08, on pictures whose numbers are known."""

import pytest
import torch

from course_utils.checkpoints import load, load_pipeline
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation import trade_off
from course_utils.evaluation.intervals import share_interval
from course_utils.evaluation.judge import adherence, diversity_of
from course_utils.images import to_float

PROMPTS = ["a cat", "an elephant with a hat"]


@pytest.fixture(scope="module")
def test_set():
    return Plushies(24, "test").in_memory()


@pytest.fixture(scope="module")
def measure(test_set):
    return trade_off.TradeOff(load("judge"), load("realness"), test_set.captions, PROMPTS, n=6, real=60)


def test_vividness_is_that_of_the_most_colourful_twentieth():
    x = torch.zeros(2, 3, 10, 10)
    x[0, 0, 0, :6] = 1.0  # six of a hundred pixels: red 1, green and blue 0
    x[1, 0, 0, :3] = 1.0  # three: fewer than a twentieth
    assert trade_off.vividness(x).tolist() == pytest.approx([0.5, 0.0])


def test_real_pictures_follow_their_captions_and_look_alike_to_themselves(measure, test_set):
    x = to_float(test_set.pictures)
    found = torch.tensor([[1, 0, 0, -1, 0, 0], [5, 0, 1, 0, 0, 0]]).repeat(6, 1, 1)  # six times the same
    z = torch.randn(24, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    row = measure.of(x, z, found)
    right = adherence(measure.judge, x, measure.asked).mean_all_right
    assert row[trade_off.ADHERENCE] == (right, *share_interval(right, 24))
    assert right > 0.9
    assert row[trade_off.DIVERSITY][0] == 0
    assert row[trade_off.SPREAD][0] == pytest.approx(float(z.flatten(1).std(1).mean()))
    assert row[trade_off.SPREAD][1] < 1 < row[trade_off.SPREAD][2]
    assert row[trade_off.DISTANCE][1] < 0 < row[trade_off.DISTANCE][2]
    assert list(row) == [trade_off.ADHERENCE, trade_off.DIVERSITY, trade_off.DISTANCE, trade_off.REALNESS,
                         trade_off.SPREAD, trade_off.COLOUR]  # fmt: skip


def test_diversity_is_the_mean_over_the_open_prompts(measure):
    found = torch.randint(0, 4, (6, 2, 6), generator=torch.Generator().manual_seed(0))
    each = [diversity_of(found[:, k], trade_off.named(text)) for k, text in enumerate(PROMPTS)]
    assert measure.varied(found) == pytest.approx(sum(each) / 2)


def test_what_is_seen_has_a_row_for_each_picture_and_prompt(measure):
    found = measure.seen(load_pipeline(), 3.0, steps=2)
    assert found.shape == (6, 2, 6)


def test_real_rows_fit_their_prompts_and_real_pictures_are_more_varied_than_copies(measure, test_set):
    hoped = measure.of_real(load_pipeline().vae, to_float(test_set.pictures), draws=3)
    for rows in measure._real_rows(3):
        assert (rows[:, 0, 0] == 1).all(), "a cat"
        assert (rows[:, 1, :3:2] == torch.tensor([5, 1])).all(), "an elephant with a hat"
    assert 0.4 < hoped[trade_off.DIVERSITY] <= 1
    assert hoped[trade_off.REALNESS] > 0.5
    assert 0.8 < hoped[trade_off.SPREAD] < 1.2
    assert trade_off.ADHERENCE not in hoped
