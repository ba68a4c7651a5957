"""Pictures as tensors: nobody's tensor is changed, and what is no picture is refused by name."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d

from course_utils.images import check_input, check_pictures, looked_at, to_float, to_uint8

BYTES = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)


def test_the_caller_s_tensors_stay_as_they_are():
    kept = BYTES.clone()
    x = to_float(kept)
    before = x.clone()
    assert torch.equal(to_uint8(x), BYTES)
    check_pictures(x)
    assert torch.equal(kept, BYTES)
    assert torch.equal(x, before)


def test_every_byte_comes_back():
    x = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(x)), x)
    assert to_float(x).aminmax() == (torch.tensor(-1.0), torch.tensor(1.0))


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (BYTES.float(), "pictures: got float32; expected uint8"),
        (BYTES.double(), "pictures: got float64; expected uint8"),
        (BYTES.long(), "pictures: got int64; expected uint8"),
        (BYTES > 3, "pictures: got bool; expected uint8"),
        (BYTES.numpy(), "pictures: got ndarray; expected uint8"),
        ([1, 2], "pictures: got list"),
    ],
)
def test_only_bytes_become_floats(x, says):
    with pytest.raises(ValueError, match=says):
        to_float(x)


@pytest.mark.parametrize("x", [BYTES, BYTES.long(), BYTES > 3, np.zeros(3), 0.5])
def test_only_floats_become_bytes(x):
    with pytest.raises(ValueError, match=r"pictures: got .*; expected floats in \[-1, 1\]"):
        to_uint8(x)


@pytest.mark.parametrize("check", [check_pictures, check_input])
@pytest.mark.parametrize(
    ("x", "says"),
    [
        (BYTES, "pictures: expected floats .* got uint8; images.to_float converts"),
        (to_float(BYTES).numpy(), "pictures: expected a tensor of pictures, .* got ndarray"),
        ("a picture", "pictures: expected a tensor of pictures, .* got str"),
        (to_float(BYTES)[0], r"pictures: expected pictures of shape .* got \(3, 4, 4\)"),
        (to_float(BYTES) * torch.nan, "pictures: expected values"),
        (to_float(BYTES) * 9, "pictures: expected values"),
    ],
)
def test_what_is_no_batch_of_pictures(check, x, says):
    with pytest.raises(ValueError, match=says):
        check(x, "pictures")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_network_takes_float32_and_what_measures_takes_any(dtype):
    x = to_float(BYTES).to(dtype)
    assert check_pictures(x) is x
    with pytest.raises(
        ValueError, match=r"pictures: expected float32 in .* got .*float.*; pictures.float\(\) converts"
    ):
        check_input(x, "pictures")


@pytest.mark.parametrize("times", [1, 2, 3])
def test_larger_pictures_are_averaged_down_to_the_size_that_is_looked_at(times):
    x = torch.rand(2, 3, 8 * times, 8 * times, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = looked_at(x, 8)
    assert torch.equal(seen, avg_pool2d(x, times))
    by_hand = x.unflatten(3, (8, times)).unflatten(2, (8, times)).mean((3, 5))
    torch.testing.assert_close(seen, by_hand)


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ((1, 3, 12, 12), "looks: expected 8×8 pixels or a whole multiple, got 12×12"),
        ((1, 3, 4, 4), "looks: expected 8×8 pixels or a whole multiple, got 4×4"),
        ((1, 3, 16, 8), "looks: expected 8×8 pixels or a whole multiple, got 16×8"),
        ((1, 3, 0, 0), "looks: expected 8×8 pixels or a whole multiple, got 0×0"),
        ((1, 1, 16, 16), r"looks: expected pictures of shape \(B, 3, H, W\), got \(1, 1, 16, 16\)"),
        ((3, 16, 16), r"looks: expected pictures of shape \(B, 3, H, W\), got \(3, 16, 16\)"),
    ],
)
def test_other_sizes_and_shapes_are_not_looked_at(shape, says):
    with pytest.raises(ValueError, match=says):
        looked_at(torch.zeros(shape), 8, "looks")


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.full((1, 3, 16, 16), 2.0), r"x: expected values in \[-1, 1\], got 2"),
        # Two that would average to a legal value are looked at before that.
        (torch.tensor([4.0, -4.0]).repeat(1, 3, 16, 8), "x: expected values"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.float64), "x: expected float32"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "x: expected floats"),
        (None, "x: expected a tensor of pictures"),
    ],
)
def test_other_values_are_not_looked_at(x, says):
    with pytest.raises(ValueError, match=says):
        looked_at(x, 8)
