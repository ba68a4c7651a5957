"""The energy distance against scipy's in 1-D, a sum written out, and what it must tell apart."""

import pytest
import torch

from course_utils.evaluation.energy import energy_distance, energy_noise_floor


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_scipy_in_one_dimension():
    """scipy gives the root, and counts pairs of a point and itself: many points make the two agree."""
    from scipy.stats import energy_distance as reference

    x, y = randn(3000, 1), 0.5 + 1.3 * randn(3000, 1, seed=1)
    assert energy_distance(x, y) == pytest.approx(reference(x[:, 0], y[:, 0]) ** 2, abs=2e-3)


def test_by_hand():
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    between = (0 + 1 + 5 + (9 + 9) ** 0.5) / 4
    assert energy_distance(x, y) == pytest.approx(2 * between - 5 - 1)


def test_floor_is_centred_and_a_shift_rises_above_it():
    g = torch.Generator().manual_seed(0)
    floor = energy_noise_floor(lambda: torch.randn(500, 2, generator=g), 40)
    assert floor.shape == (40,)
    assert floor.mean().abs() < 3 * floor.std() / 40**0.5
    shifted = energy_distance(torch.randn(500, 2, generator=g) + 0.5, torch.randn(500, 2, generator=g))
    assert shifted > 10 * floor.std()


def test_bad_input_is_refused():
    x = randn(5, 2)
    for bad, name in [(x[:1], "x"), (x[0], "x"), (x * float("nan"), "x")]:
        with pytest.raises(ValueError, match=name):
            energy_distance(bad, x)
    with pytest.raises(ValueError, match="y: got points of 3 numbers; expected 2"):
        energy_distance(x, randn(5, 3))
    for repeats in (0, 1.5, True):
        with pytest.raises(ValueError, match="repeats"):
            energy_noise_floor(lambda: x, repeats)
