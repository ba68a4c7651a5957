"""Adherence and diversity of hand-made judges, whose verdicts are known."""

import math

import pytest
import torch

from course_utils.datasets.attributes import NAMES
from course_utils.evaluation.judge import accuracy, adherence, diversity_of, normalised_entropy, open_diversity

COLOUR = NAMES.index("accessory_colour")


class Saw:
    """A judge that answers with given rows, one picture after the other, whatever the pictures show."""

    def __init__(self, *rows):
        self.rows, self.at = torch.tensor(rows), 0

    def predict(self, x):
        self.at += len(x)
        return self.rows[self.at - len(x) : self.at]


def pictures(n):
    return torch.zeros(n, 3, 64, 64)


def test_only_what_is_named_counts():
    seen = [0, 1, 2, 3, 4, 0]
    named = torch.tensor([[0, 1, -1, -1, -1, -1], [0, 2, 2, -1, 4, -1], [1, -1, -1, -1, -1, 1], [0, 1, 2, 3, 4, 0]])
    result = adherence(Saw(seen, seen, seen, seen), pictures(4), named)
    assert result.share.tolist() == [1.0, 0.75, 0.0, 1.0]
    assert result.all_right.tolist() == [True, False, False, True]
    assert result.asked.tolist() == [2, 4, 2, 6]
    assert result.per_attribute == pytest.approx(dict(zip(NAMES, (0.75, 2 / 3, 1, 1, 1, 0.5), strict=True)))
    assert result.mean_share == pytest.approx((1 + 0.75 + 0 + 1) / 4)
    assert result.mean_all_right == 0.5


def test_a_colour_counts_only_where_it_is_named():
    bare = [0, 0, 0, -1, 0, 0]
    named = torch.tensor([[0, 0, 0, -1, 0, 0], [0, -1, 1, 2, -1, -1]])
    result = adherence(Saw(bare, bare), pictures(2), named)
    assert result.share.tolist() == [1.0, pytest.approx(1 / 3)]
    assert result.per_attribute["accessory_colour"] == 0.0  # asked for once, and there is no accessory


def test_a_caption_that_names_nothing_has_no_share():
    seen = [0, 0, 0, -1, 0, 0]
    result = adherence(Saw(seen, seen), pictures(2), torch.tensor([[-1] * 6, [1, 0, -1, -1, -1, -1]]))
    assert math.isnan(result.share[0])
    assert result.all_right.tolist() == [True, False]
    assert result.mean_share == 0.5
    assert result.mean_all_right == 0.0
    assert adherence(Saw(seen), pictures(1), torch.full((1, 6), -1)).per_attribute == {}


def test_accuracy_is_per_attribute():
    truth = torch.tensor([[0, 0, 1, 2, 0, 0], [1, 0, 0, -1, 0, 0]])
    found = accuracy(Saw([0, 0, 1, 3, 0, 0], [0, 0, 0, -1, 0, 0]), pictures(2), truth)
    assert found == dict(zip(NAMES, (0.5, 1.0, 1.0, 0.0, 1.0, 1.0), strict=True))


def test_many_pictures_are_judged_in_order():
    rows = [[i % 6, 0, 0, -1, 0, 0] for i in range(600)]
    assert adherence(Saw(*rows), pictures(600), torch.tensor(rows)).mean_share == 1.0


def test_entropy_has_its_closed_form():
    assert normalised_entropy(torch.tensor([2, 2, 2]), 4) == 0.0
    assert normalised_entropy(torch.tensor([0, 1, 2, 3]), 4) == pytest.approx(1.0)
    assert normalised_entropy(torch.tensor([0, 3]), 4) == pytest.approx(1.0)  # two draws show two at most
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert normalised_entropy(torch.tensor([1, 1, 1, 0]), 4) == pytest.approx(expected)
    with pytest.raises(ValueError, match="values, kinds: got 1 and 4; expected 2 values"):
        normalised_entropy(torch.tensor([1]), 4)


def test_diversity_looks_at_open_attributes_alone():
    # Species and pattern open; species is split in two halves, the pattern never changes.
    rows = [[0, 0, 1, 1, 0, 2], [0, 1, 1, 1, 1, 2], [4, 2, 1, 1, 2, 2], [4, 3, 1, 1, 3, 2]]
    named = torch.tensor([-1, 0, 1, 1, 0, -1])
    expected = (math.log(2) / math.log(4) + 0.0) / 2
    assert diversity_of(torch.tensor(rows), named) == pytest.approx(expected)
    assert open_diversity(Saw(*rows), pictures(4), named) == pytest.approx(expected)
    assert open_diversity(Saw(*rows), pictures(4), named.expand(4, -1)) == pytest.approx(expected)
    assert math.isnan(open_diversity(Saw(*rows), pictures(4), torch.tensor([0, 0, 1, 1, 0, 2])))


def test_diversity_judges_colour_where_there_is_an_accessory():
    rows = [[0, 0, 0, -1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 2, 3, 0, 0], [0, 0, 0, -1, 0, 0]]
    open_both = torch.tensor([0, 0, -1, -1, 0, 0])
    accessory = -(0.5 * math.log(0.5) + 2 * 0.25 * math.log(0.25)) / math.log(4)
    assert open_diversity(Saw(*rows), pictures(4), open_both) == pytest.approx((accessory + 1.0) / 2)
    # Fewer than two accessories: nothing to compare their colours on.
    assert open_diversity(Saw(*rows[:2]), pictures(2), open_both) == pytest.approx(1.0)
    bare = torch.tensor([0, 0, 0, -1, 0, 0])
    assert math.isnan(open_diversity(Saw(*rows), pictures(4), bare))


@pytest.mark.parametrize(
    ("x", "named", "message"),
    [
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 6), "pictures: expected pictures of shape"),
        (pictures(1) + 200.0, torch.zeros(1, 6), r"pictures: expected values in \[-1, 1\], got 200"),
        (pictures(1) + math.nan, torch.zeros(1, 6), r"pictures: expected values in \[-1, 1\]"),
        (pictures(1), torch.zeros(2, 6), r"named: got \(\d, \d\); expected 1 rows of 6"),
        (pictures(1), torch.zeros(1, 5), r"named: got \(\d, \d\); expected 1 rows of 6"),
        (pictures(1), torch.full((1, 6), 9), "named: got 9 for species"),
        (pictures(1), torch.full((1, 6), -2), "named: got -2 for species"),
    ],
)
def test_bad_input_to_adherence(x, named, message):
    with pytest.raises(ValueError, match=message):
        adherence(Saw([0] * 6), x, named)


def test_bad_input_to_diversity():
    with pytest.raises(ValueError, match="pictures: got 1; expected at least 2 samples"):
        open_diversity(Saw([0] * 6), pictures(1), torch.zeros(6))
    with pytest.raises(ValueError, match="named: got rows that differ"):
        open_diversity(Saw([0] * 6, [0] * 6), pictures(2), torch.tensor([[0] * 6, [1] * 6]).clamp(max=1))
