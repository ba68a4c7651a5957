"""The most frequent value, and how frequent it is by chance."""

import pytest
import torch

from course_utils.evaluation.collapse import most_frequent, most_frequent_by_chance, shares


def test_the_share_of_the_most_frequent_value():
    assert most_frequent(torch.tensor([3, 1, 3, 0, 3])) == 0.6
    assert most_frequent(torch.tensor([7])) == 1


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="n ≥ 1"):
        most_frequent(torch.zeros(0, dtype=torch.int64))


def test_by_chance_it_is_what_equal_dice_give():
    # Of two throws of a coin the most frequent side has 1/2 or 1, equally often: 3/4 on average.
    found = most_frequent_by_chance(torch.arange(2).repeat(5000), 2, draws=2000)
    assert sorted(set(found.tolist())) == [0.5, 1.0]
    assert float(found.mean()) == pytest.approx(0.75, abs=0.02)


def test_all_of_the_pool_have_the_pools_own_share():
    pool = torch.tensor([0, 0, 0, 1])
    assert most_frequent_by_chance(pool, 4, draws=5).tolist() == [0.75] * 5
    with pytest.raises(ValueError, match="n is 5"):
        most_frequent_by_chance(pool, 5)


def test_shares_count_what_is_there():
    assert shares(torch.tensor([1, -1, 1, 0, 3]), 4).tolist() == [0.25, 0.5, 0.0, 0.25]
    assert shares(torch.tensor([-1, -1]), 3).tolist() == [0.0] * 3
    for values in (torch.tensor([4]), torch.tensor([-2]), torch.zeros(2, 2, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"values: got shape .* expected \(n,\) with numbers from -1 to 3"):
            shares(values, 4)
