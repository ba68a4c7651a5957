"""The cost of a denoising step against counts by hand."""

from types import SimpleNamespace

import pytest
import torch

from course_utils import runtime
from course_utils.evaluation import cost


class Clock:
    """In the place of `time`: it stands still between calls of `spend`."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return clock


def by_hand(tokens, width, depth, patch_numbers, condition=128):
    """Multiply-adds of the course's denoiser for one picture, twice."""
    block = tokens * 12 * width**2 + 2 * tokens**2 * width + 6 * width**2  # layers; attention; modulation
    ends = 2 * tokens * patch_numbers * width + 2 * width**2  # in and out; the last modulation
    small = (256 + width) * width + (condition + width) * width  # time and condition
    return 2 * (depth * block + ends + small)


@pytest.mark.parametrize(("channels", "side", "patch"), [(4, 8, 2), (3, 32, 2), (3, 32, 4)])
def test_flops_are_those_of_a_count_by_hand(channels, side, patch):
    model = cost.denoiser_on(channels, side, patch)
    expected = by_hand((side // patch) ** 2, 64, 2, channels * patch**2)
    assert cost.flops(model) == expected


def test_counting_needs_no_memory():
    assert cost.flops(cost.denoiser_on(3, 256)) > 1e11


def test_saved_bytes_grow_with_tokens_and_leave_weights_out():
    small, large = (cost.saved_bytes(cost.denoiser_on(3, side)) for side in (16, 32))
    assert 3.5 < large / small < 4.5, "four times the tokens"
    weights = 4 * sum(p.numel() for p in cost.denoiser_on(3, 16).parameters())
    assert small < weights


def test_a_step_has_all_three_measures(clock):
    model = cost.denoiser_on(4, 8)
    model.register_forward_pre_hook(lambda *_: clock.spend(0.25))
    found = cost.step_cost(model, repeats=1)
    assert found.tokens == 16
    assert found.flops == cost.flops(model)
    assert found.seconds == 0.25
    assert found.saved > 0
    assert all(p.grad is None for p in model.parameters())


def test_the_slope_is_the_exponent_of_a_power_law():
    x = torch.tensor([32.0, 64, 128, 256])
    assert cost.slope(x, 3 * x**4) == pytest.approx(4)
    with pytest.raises(ValueError, match="x, y: got .* expected two or more positive numbers"):
        cost.slope([1, 2], [0, 1])


def test_a_side_that_patches_do_not_fill_is_refused():
    with pytest.raises(ValueError, match="side: got 9; expected a multiple of the patch, 2"):
        cost.denoiser_on(3, 9)


def test_peak_memory_counts_what_is_alive_at_once():
    a = torch.zeros(1000)  # 4,000 bytes, there before
    assert cost.peak_bytes(lambda: a + 1) == 4000
    assert cost.peak_bytes(lambda: (a + 1) + 1) == 8000
    assert cost.peak_bytes(lambda: [(a + 1).sum() for _ in range(5)]) == 4000 + 5 * 4
    assert cost.peak_bytes(lambda: a.view(10, 100).T) == 0

    def inference():
        with torch.inference_mode():
            return (a + 1) + 1

    assert cost.peak_bytes(inference) == 8000

    def backward():
        x = a.clone().requires_grad_()
        torch.autograd.grad((x * 2).exp().sum(), x)

    assert cost.peak_bytes(backward) > cost.peak_bytes(lambda: (a.clone() * 2).exp().sum())


def test_seconds_are_the_best_of_those_after_the_first(clock):
    model, spent = cost.denoiser_on(4, 8), iter([0.125, 3.0, 0.5, 2.0])
    model.register_forward_pre_hook(lambda *_: clock.spend(next(spent)))
    assert cost.seconds(model, repeats=3) == 0.5


def test_median_seconds_leave_out_the_first(clock):
    spent = iter([9.0, 1.0, 4.0, 2.0])
    assert cost.median_seconds(lambda: clock.spend(next(spent)), repeats=3) == 2.0


def test_calls_to_compare_take_turns(clock):
    """A slow moment that lasts for one round of calls does not make one of them slower than the other."""
    order, slow = [], iter([1.0] * 4 + [50.0] * 4 + [1.0] * 4)
    one, two = (
        lambda name=name, own=own: (order.append(name), clock.spend(own * next(slow)))
        for name, own in (("a", 1.0), ("b", 2.0))
    )
    assert cost.seconds_in_turn({"a": one, "b": two}, rounds=3) == {"a": 1.0, "b": 2.0}
    assert order == ["a", "a", "b", "b"] * 3  # each warms up first


def test_timings_wait_for_the_device(clock, monkeypatch):
    """What a device still has to do when the call returns counts as well."""
    monkeypatch.setattr(
        cost, "runtime", SimpleNamespace(device=runtime.device, synchronize=lambda on: clock.spend(1.0))
    )
    assert cost.median_seconds(lambda: clock.spend(0.5), repeats=1) == 1.5
    assert cost.seconds(cost.denoiser_on(4, 8), repeats=1) == 1.0


def test_operations_count_products_and_convolutions():
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert cost.operations(lambda: a @ b) == 2 * 3 * 5 * 7
    x, kernel = torch.zeros(1, 2, 6, 6), torch.zeros(4, 2, 3, 3)
    assert cost.operations(lambda: torch.conv2d(x, kernel)) == 2 * 4 * 4 * 4 * 2 * 3 * 3
    assert cost.operations(lambda: a + a) == 0
