"""The kernel distance against its sum written out, closed forms, and what it must tell apart."""

import itertools

import numpy as np
import pytest
import torch

from course_utils.checkpoints import load
from course_utils.datasets.plushies import Plushies
from course_utils.evaluation import degradations
from course_utils.evaluation.kernel import (
    StandardFeatures,
    chance_band,
    kernel_distance,
    kernel_interval,
    real_against_real,
    yardstick,
)
from course_utils.images import to_float


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(a, b):
    """The unbiased squared MMD, pair by pair (Gretton et al. 2012, eq. 3)."""

    def kernel(x, y):
        return (float(np.dot(x, y)) / len(x) + 1.0) ** 3

    def within(x):
        pairs = [kernel(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return sum(pairs) / len(pairs)

    return within(a) + within(b) - 2 * sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))


def test_is_its_sum_written_out():
    a, b = gaussian(23, 7), 0.4 + 1.5 * gaussian(17, 7, seed=1)
    expected = written_out(a.numpy(), b.numpy())
    assert kernel_distance(a, b) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(b, a) == pytest.approx(expected, rel=1e-12)
    assert kernel_distance(a.float(), b.float()) == pytest.approx(expected, rel=1e-5)


def truth(shift, scale):
    """For one feature, (xy + 1)³ = x³y³ + 3x²y² + 3xy + 1, so that the distance is one of moments: here of
    N(0, 1) and N(shift, scale²)."""
    first, second = shift, shift**2 + scale**2
    third = shift**3 + 3 * shift * scale**2
    return third**2 + 3 * (second - 1) ** 2 + 3 * first**2


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.3, 1.0), (0.0, 1.3), (0.5, 0.7)])
def test_its_mean_over_small_sets_is_the_true_distance(shift, scale):
    pairs = zip(gaussian(4000 * 10, 1).split(10), gaussian(4000 * 15, 1, seed=1).split(15), strict=True)
    found = torch.tensor([kernel_distance(a, shift + scale * b) for a, b in pairs])
    error = float(found.std()) / len(found) ** 0.5
    assert float(found.mean()) == pytest.approx(truth(shift, scale), abs=3.5 * error)
    assert error < 0.2, "or else the line above says nothing"
    if (shift, scale) == (0.0, 1.0):
        assert 0.2 < float((found < 0).float().mean()) < 0.8, "both signs occur"


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (0.5, 1.0), (0.0, 1.3)])
def test_its_interval_holds_the_true_distance_as_often_as_it_says(shift, scale):
    pairs = zip(gaussian(400 * 500, 1).split(500), gaussian(400 * 300, 1, seed=1).split(300), strict=True)
    ends = torch.tensor([kernel_interval(a, shift + scale * b) for a, b in pairs])
    held = ((ends[:, 0] <= truth(shift, scale)) & (truth(shift, scale) <= ends[:, 1])).float().mean()
    assert held > 0.9
    if shift or scale != 1.0:
        assert held < 0.99, "an interval that always holds the truth is too wide"


def test_the_interval_leaves_out_one_picture_after_the_other():
    a, b = gaussian(9, 3), 0.5 + gaussian(6, 3, seed=1)

    def spread(values):
        return float(((values - values.mean()) ** 2).sum() * (len(values) - 1) / len(values))

    without_a = torch.tensor([kernel_distance(torch.cat([a[:i], a[i + 1 :]]), b) for i in range(9)]).double()
    without_b = torch.tensor([kernel_distance(a, torch.cat([b[:i], b[i + 1 :]])) for i in range(6)]).double()
    half = 1.959964 * (spread(without_a) + spread(without_b)) ** 0.5
    value = kernel_distance(a, b)
    assert kernel_interval(a, b) == pytest.approx((value - half, value + half), rel=1e-5)


def test_real_against_real_is_near_zero_with_both_signs_and_repeats():
    f = gaussian(600, 8)
    floor = real_against_real(f, 100, 200, draws=60)
    assert floor.shape == (60,)
    assert abs(float(floor.mean())) < 0.5 * float(floor.std())
    assert 0.2 < float((floor < 0).float().mean()) < 0.8
    assert torch.equal(floor, real_against_real(f, 100, 200, draws=60))
    assert not torch.equal(floor, real_against_real(f, 100, 200, draws=60, seed=1))


def test_real_against_real_is_the_distance_of_two_sets_without_a_common_picture():
    f = torch.tensor([[0.0], [1.0], [3.0], [7.0], [-2.0]], dtype=torch.float64)
    splits = [(set(a), set(range(5)) - set(a)) for a in itertools.combinations(range(5), 2)]
    possible = [kernel_distance(f[sorted(a)], f[sorted(b)]) for a, b in splits]
    found = real_against_real(f, 2, 3, draws=200)
    assert sorted(set(found.numpy().round(6))) == pytest.approx(sorted(possible), abs=1e-5)


@pytest.fixture(scope="module")
def pictures():
    """Real pictures to compare with, and others, of the size that the judge looks at."""
    return tuple(to_float(Plushies(200, split, size=64).in_memory().pictures) for split in ("val", "test"))


@pytest.fixture(scope="module")
def features():
    return StandardFeatures(load("judge").features, to_float(Plushies(300, size=64).in_memory().pictures))


def test_features_are_standard_on_the_reference(features):
    found = features(to_float(Plushies(300, size=64).in_memory().pictures))
    torch.testing.assert_close(found.mean(0), torch.zeros_like(found[0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0), torch.ones_like(found[0]), atol=1e-5, rtol=0)
    silent = StandardFeatures(lambda x: torch.stack([x.mean((1, 2, 3)), torch.ones(len(x))], 1), torch.rand(9, 3, 8, 8))
    assert bool(silent(torch.rand(4, 3, 8, 8)).isfinite().all()), "a feature that never varies"


def test_a_yardstick_measures_to_other_pictures_than_those_that_set_its_standard():
    measure, real = yardstick(load("judge").features, 60, 64)
    drawn = [to_float(Plushies(60, "val", 64, seed=seed).in_memory().pictures) for seed in (0, 1)]
    torch.testing.assert_close(real, measure(drawn[0]))
    torch.testing.assert_close(measure(drawn[1]).mean(0), torch.zeros(real.shape[1]).double(), atol=1e-5, rtol=0)
    assert float(real.mean(0).abs().max()) > 1e-2, "others than those of the standard"


@pytest.mark.parametrize(
    ("change", "strengths"),
    [
        (degradations.blur, (0.0, 2.0, 3.0, 4.0)),
        (lambda x, s: degradations.noise(x, s, torch.Generator().manual_seed(0)), (0.0, 0.2, 0.3, 0.6)),
        (
            lambda x, share: torch.cat([x[: int(share * len(x))].flip(2), x[int(share * len(x)) :]]),
            (0.0, 0.2, 0.5, 1.0),
        ),
        (lambda x, share: x[torch.arange(len(x)) % int((1 - share) * len(x))], (0.0, 0.9, 0.97, 0.99)),
    ],
    ids=["blur", "noise", "upside down", "fewer kinds"],
)
def test_it_grows_as_pictures_get_worse(pictures, features, change, strengths):
    real, others = pictures
    distances = [kernel_distance(features(change(others, s) if s else others), features(real)) for s in strengths]
    floor = real_against_real(features(torch.cat(pictures)), 200, 200, draws=20)
    assert float(floor.abs().max()) > abs(distances[0]) / 3, "other real pictures are as near as chance says"
    assert distances[0] < distances[1] < distances[2] < distances[3]
    assert distances[3] > 5 * float(floor.max())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernel_distance(gaussian(4, 3), gaussian(4, 2)), "feats_b: got 2 features per row; expected 3"),
        (lambda: kernel_distance(gaussian(1, 3), gaussian(4, 3)), r"feats_a: got \(1, 3\); expected shape .* N ≥ 2"),
        (lambda: kernel_distance(gaussian(4, 3), gaussian(4, 3)[0]), r"feats_b: got \(3,\)"),
        (lambda: kernel_distance(gaussian(4, 3) / 0, gaussian(4, 3)), "feats_a: got NaN or infinity"),
        (lambda: kernel_interval(gaussian(2, 3), gaussian(4, 3)), r"feats_a: got \(2, 3\); expected shape .* N ≥ 3"),
        (lambda: real_against_real(gaussian(9, 3), 5, 5), "features: got 9 pictures; expected 10 or more, n . m"),
        (lambda: real_against_real(gaussian(9, 3), 1, 5), "n is 1; expected a whole number, 2 or more"),
        (lambda: real_against_real(gaussian(9, 3), 3, 5, draws=0), "draws is 0"),
        (lambda: StandardFeatures(lambda x: x[:, 0, 0], torch.rand(1, 3, 8, 8)), r"reference: features: got \(1, 8\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_band_of_chance_leaves_one_in_forty_draws_out_on_either_side():
    features = gaussian(120, 3)
    low, high = chance_band(features, 40, 60, draws=400)
    found = real_against_real(features, 40, 60, draws=400)
    assert [int((found < low).sum()), int((found > high).sum())] == [10, 10]
