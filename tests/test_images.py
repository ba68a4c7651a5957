"""Pictures as tensors: nobody's tensor is changed, and what is no picture is refused by name."""

import numpy as np
import pytest
import torch

from course_utils.images import check_input, check_pictures, to_float, to_uint8

BYTES = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)


def test_the_caller_s_tensors_stay_as_they_are():
    kept = BYTES.clone()
    x = to_float(kept)
    before = x.clone()
    assert torch.equal(to_uint8(x), BYTES)
    check_pictures(x)
    assert torch.equal(kept, BYTES)
    assert torch.equal(x, before)


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
