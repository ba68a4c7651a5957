"""The front of a curve by hand, and leads whose sign is known."""

import numpy as np
import pytest

from course_utils.evaluation.fronts import front, leads, value_at


def test_front_is_read_off_the_lines_between_points():
    right, diversity = np.array([0.5, 0.9, 0.8]), np.array([0.8, 0.4, 0.3])
    found = front(right, diversity, (0.5, 0.7, 0.9, 0.95))
    np.testing.assert_allclose(found[:3], [0.8, 0.6, 0.4])
    assert np.isnan(found[3])


def test_front_takes_the_better_of_two_ways():
    # The curve comes back to 0.6 with less diversity: that part does not count.
    assert front(np.array([0.6, 0.9, 0.6]), np.array([0.7, 0.5, 0.1]), (0.6,))[0] == pytest.approx(0.7)


@pytest.mark.parametrize(("right", "diversity"), [([0.5], [0.5]), ([0.5, 0.6], [0.5]), ([[0.5]], [[0.5]])])
def test_front_says_what_it_expects(right, diversity):
    with pytest.raises(ValueError, match="expected two of"):
        front(np.array(right), np.array(diversity), (0.5,))


def curves(shift):
    """A curve of 3 points over 200 captions and 10 prompts, more diverse by `shift`."""
    random = np.random.default_rng(1)
    right = (random.random((1, 200)) < np.array([[0.5], [0.8], [0.95]])).astype(float)
    spread = np.array([[0.8], [0.6], [0.4]]) + 0.02 * random.standard_normal((3, 10))
    return right, spread + shift


def test_leads_find_who_is_ahead():
    (r, base), (_, ahead), (_, behind) = curves(0), curves(0.1), curves(-0.1)
    found = leads({"CFG": r, "a": r, "b": r}, {"CFG": base, "a": ahead, "b": behind}, (0.6, 0.9), resamples=50)
    np.testing.assert_allclose(found["CFG"]["lead"], 0)
    np.testing.assert_allclose(found["a"]["lead"], 0.1)
    assert (found["a"]["low"] > 0).all()
    assert (found["b"]["high"] < 0).all()
    assert (found["a"]["low"] <= found["a"]["lead"] + 1e-9).all()


def test_leads_say_nothing_where_a_curve_does_not_get():
    r, d = curves(0)
    found = leads({"CFG": r, "weak": 0 * r}, {"CFG": d, "weak": d}, (0.6,), resamples=20)
    assert all(np.isnan(found["weak"][k]).all() for k in ("diversity", "lead", "low", "high"))


def test_leads_need_the_base_and_the_same_methods():
    r, d = curves(0)
    with pytest.raises(ValueError, match="the same methods"):
        leads({"APG": r}, {"APG": d}, (0.6,))


def test_a_curve_is_read_on_straight_lines_in_the_logarithm_whatever_the_order():
    points = [(0.1, 3.0), (0.001, 5.0), (0.01, 4.0)]
    assert value_at(points, 0.01) == pytest.approx(4.0)
    assert value_at(points, 10**-1.5) == pytest.approx(3.5)
    assert value_at(points, 10**-2.25) == pytest.approx(4.25)


@pytest.mark.parametrize("at", [0.0009, 0.11])
def test_a_curve_says_nothing_outside_its_points(at):
    assert np.isnan(value_at([(0.1, 3.0), (0.001, 5.0)], at))
