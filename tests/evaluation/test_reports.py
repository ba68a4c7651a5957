"""What benchmarks share: prompts that leave something open, distances, rounding."""

import math

import numpy as np
import pytest
import torch

from course_utils.evaluation import reports


def test_a_caption_that_leaves_only_the_colour_of_nothing_open_is_not_open():
    full = "a brown bear, bare on a plain sky background"
    said = ["a cat", full, "a cat", "a brown bear with a red hat on a sky background"]
    assert reports.leaving_open(said) == ["a cat", "a brown bear with a red hat on a sky background"]


def test_distances_tell_real_pictures_from_noise():
    distances = reports.Distances(64)
    real, noise = (
        reports.pictures(64)[0],
        torch.rand(64, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1,
    )
    near, far = distances.of(real), distances.of(noise)
    assert near["low"] < near["value"] < near["high"]
    assert far["low"] > near["high"]
    floor = distances.of_real(64)
    assert floor["low"] < floor["value"] < floor["high"]


def test_scores_know_the_pictures_that_the_captions_come_from():
    scores = reports.Scores(24, 64, real=24)
    assert scores.pictures.shape == (24, 3, 64, 64)
    assert len(scores.texts) == 24
    right, strangers = scores(scores.pictures), scores(scores.pictures.roll(1, 0))
    assert right["all_right"] > 0.9 > 0.3 > strangers["all_right"]
    assert strangers["attributes"] < right["attributes"]
    assert right["kernel_distance"] == pytest.approx(strangers["kernel_distance"], abs=1e-4)
    low, high = right["kernel_interval"]
    assert low < right["kernel_distance"] < high


def test_numbers_are_rounded_to_four_digits_and_nan_is_null():
    found = reports.rounded({"a": [1.23456, math.nan], "b": (np.float64(98765.4), 7, "x", True, None)})
    assert found == {"a": [1.235, None], "b": [pytest.approx(98770.0), 7, "x", True, None]}


def test_results_of_a_benchmark_are_read_and_others_are_named():
    assert set(reports.measured("pixel_duel")["arms"]) == {"latents", "pixels"}
    with pytest.raises(ValueError, match=r"got 'duel'; expected one of .*pixel_duel"):
        reports.measured("duel")
