"""Intervals against scipy's, and how often they hold the truth."""

import pytest
import torch

from course_utils.evaluation.intervals import (
    interval_text,
    jackknife_interval,
    mean_interval,
    share_interval,
    share_text,
)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (3, 10), (1, 1), (483, 512), (500, 1024)])
def test_share_interval_is_scipys(k, n):
    from scipy.stats import binomtest

    expected = binomtest(k, n).proportion_ci(0.95, method="wilson")
    assert share_interval(k / n, n) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_mean_interval_is_scipys_normal_one():
    from scipy.stats import norm

    x = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    expected = norm.interval(0.95, loc=float(x.mean()), scale=float(x.std()) / 50**0.5)
    assert mean_interval(x) == pytest.approx(expected, rel=1e-6)


def test_they_hold_the_truth_as_often_as_they_say():
    g = torch.Generator().manual_seed(0)
    tries = (torch.rand(2000, 200, generator=g) < 0.93).double()
    shares = [share_interval(float(row.mean()), 200) for row in tries]
    assert 0.93 < sum(low <= 0.93 <= high for low, high in shares) / 2000 < 0.97
    means = [mean_interval(row) for row in torch.rand(2000, 100, generator=g)]
    assert 0.93 < sum(low <= 0.5 <= high for low, high in means) / 2000 < 0.97


def test_a_means_jackknife_interval_is_the_means():
    x = torch.randn(30, 2, generator=torch.Generator().manual_seed(0)).double()
    assert jackknife_interval(lambda rows: float(rows[:, 1].mean()), x) == pytest.approx(
        mean_interval(x[:, 1]), rel=1e-9
    )


def test_the_jackknife_finds_how_much_an_entropy_scatters():
    g = torch.Generator().manual_seed(0)
    p = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def entropy(rows):
        share = torch.bincount(rows, minlength=3) / len(rows)
        return float(-torch.xlogy(share, share).sum())

    draws = torch.multinomial(p, 300 * 60, replacement=True, generator=g).view(300, 60)
    scatter = torch.tensor([entropy(row) for row in draws]).std()
    halves = [(high - low) / 2 for low, high in (jackknife_interval(entropy, row) for row in draws[:40])]
    assert sum(halves) / 40 == pytest.approx(1.96 * float(scatter), rel=0.15)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: share_interval(1.2, 10), "share is 1.2; expected a finite number from 0 to 1"),
        (lambda: share_interval(0.5, 0), "n is 0; expected a whole number, 1 or more"),
        (lambda: mean_interval(torch.ones(1)), r"values: got \(1,\); expected"),
        (lambda: mean_interval(torch.tensor([1.0, float("nan")])), "values: got NaN"),
        (lambda: jackknife_interval(len, torch.ones(2, 4)), r"rows: got \(2, 4\); expected"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_texts_of_intervals():
    assert interval_text(0.654, 0.6, 0.7049) == "0.65 (0.60 to 0.70)"
    assert interval_text(-0.01, -0.02, 0.0, "+.3f") == "-0.010 (-0.020 to +0.000)"
    low, high = share_interval(0.5, 40)
    assert share_text(0.5, 40) == f"50% ({low:.0%} to {high:.0%})"
    assert share_text(0.5, 40, ".2f") == f"0.50 ({low:.2f} to {high:.2f})"
