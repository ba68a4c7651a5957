"""Pictures as tokens: patches, by reshaping and by a convolution."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, exercise, noise
from course_utils.lab.exercises.returns import Wrong


def _picture(b: int, h: int, w: int, seed: int) -> Tensor:
    return noise(b, 3, h, w, seed=seed)


def _patch_cases() -> list[Case]:
    """`F.unfold` cuts windows; with a stride as large as the window these are patches."""
    return [
        Case(
            (x, p),
            F.unfold(x, p, stride=p).mT,
            f"for {len(x)} picture(s) of {x.shape[2]}×{x.shape[3]} and patches of {p}",
        )
        for x, p in ((_picture(1, 4, 6, 0), 2), (_picture(2, 16, 8, 1), 4), (_picture(2, 6, 6, 2), 1))
    ]


def _order(*axes: int) -> Callable[[Tensor, int], Tensor]:
    """Patches with the axes of (b, c, rows, p, columns, q) in another order."""

    def answer(x: Tensor, p: int) -> Tensor:
        b, c, h, w = x.shape
        y = x.reshape(b, c, h // p, p, w // p, p).permute(*axes)
        return y.reshape(b, -1, c * p * p)

    return answer


@exercise(
    cases=_patch_cases,
    mistakes=[
        Mistake(
            lambda x, p: x.reshape(len(x), -1, x.shape[1] * p * p),
            "a reshape alone only cuts the numbers where they lie, one channel and row after another. Split H and "
            "W into (H/p, p) and (W/p, p), then permute.",
        ),
        Mistake(
            _order(0, 2, 4, 3, 5, 1),
            "the channels come last in your rows: here a row is channel by channel, (C, p, p), as a "
            "convolution's weight has it.",
        ),
        Mistake(
            _order(0, 4, 2, 1, 3, 5),
            "the patches go down the columns: reading order is row by row, so H/p stands before W/p.",
        ),
        Mistake(
            _order(0, 4, 2, 1, 5, 3),
            "height and width are swapped: patches go row by row, and so do the pixels in them.",
        ),
        Mistake(
            _order(0, 2, 4, 1, 5, 3),
            "each patch came out transposed: within a patch, its rows come before its columns.",
        ),
        Mistake(
            _order(0, 1, 2, 4, 3, 5),
            "the channels have become tokens of their own: C belongs *inside* a row, behind both patch axes.",
        ),
    ],
    hint="x.reshape(B, C, H/p, p, W/p, p), then .permute(0, 2, 4, 1, 3, 5), then join the last three axes.",
    on_error={
        "is invalid for input of size": (
            "the sizes must multiply to B · C · H · W: H splits into H//p and p, W into W//p and p."
        ),
        "view size is not compatible": "after a permute the numbers lie elsewhere: use .reshape for .view.",
        "cannot be interpreted as an integer": "H / p is a float in Python: use H // p.",
        "must be tuple of ints": "H / p is a float in Python: use H // p.",
    },
    on_cpu=(),
)
def patchify(x: Tensor, p: int) -> Tensor:
    """x (B, C, H, W) → (B, H/p · W/p, C·p·p): a row per patch, (C, p, p) within it, the patches in reading order."""
    b, c, h, w = x.shape
    x = x.reshape(b, c, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * p)


def _convolution_cases() -> list[Case]:
    cases = []
    for seed, (h, w, p, d) in enumerate(((4, 6, 2, 5), (16, 8, 4, 7))):
        x, weight, bias = (
            _picture(2, h, w, seed),
            noise(d, 3 * p * p, seed=seed + 5),
            noise(d, seed=seed + 9),
        )
        right = F.linear(F.unfold(x, p, stride=p).mT, weight, bias)
        cases.append(Case((x, weight, bias, p), right, f"for pictures of {h}×{w}, patches of {p} and width {d}"))
    return cases


def _convolve(x: Tensor, kernel: Tensor, bias: Tensor | None, p: int) -> Tensor:
    return F.conv2d(x, kernel, bias, stride=p).flatten(2).mT


def _check_token_shape(attempt: Attempt) -> None:
    for case in _convolution_cases():
        answer, (x, *_, p) = attempt(*case.inputs), case.inputs
        full, (b, length, d) = x.shape[2] - p + 1, case.expected.shape
        what = f"{case.words}: expected shape {(b, length, d)}, got {tuple(answer.shape)}"
        if answer.ndim == 4:
            raise Wrong(
                what,
                "a convolution's output is a picture (B, D, H/p, W/p): .flatten(2).mT makes a row of tokens of it.",
            )
        if answer.shape == (b, d, length):
            raise Wrong(what, "tokens are the second axis, their numbers the last: transpose with .mT.")
        if answer.ndim == 3 and answer.shape[1] == full * (x.shape[3] - p + 1):
            raise Wrong(what, "a window at every pixel: with stride=p the kernel steps from patch to patch.")
        as_tensor(answer, case)


@exercise(
    check=_check_token_shape,
    cases=_convolution_cases,
    mistakes=[
        Mistake(lambda x, w, b, p: _convolve(x, w.view(len(w), 3, p, p), None, p), "the bias is missing."),
        Mistake(
            lambda x, w, b, p: _convolve(x, w.view(len(w), p, p, 3).permute(0, 3, 1, 2), b, p),
            "the rows of weight are read as (p, p, C): they are channel by channel, (C, p, p).",
        ),
        Mistake(
            lambda x, w, b, p: _convolve(x, w.view(len(w), 3, p, p).mT, b, p),
            "each kernel came out transposed: weight.reshape(D, C, p, p) is all it takes.",
        ),
        Mistake(
            lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p).mT.flatten(2).mT,
            "the tokens go down the columns: flatten the output as it is, row by row.",
        ),
        Mistake(
            lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p).flatten(2).reshape(len(x), -1, len(w)),
            "reshape does not transpose: (B, D, L) becomes (B, L, D) with .mT.",
        ),
    ],
    hint="F.conv2d with the rows of weight as kernels (C, p, p) and stride p, then .flatten(2).mT.",
    on_error={
        "expected stride": "F.conv2d wants kernels of shape (D, C, p, p): reshape weight first.",
        "weight should have at least": "F.conv2d wants kernels of shape (D, C, p, p): reshape weight first.",
        "Expected 3D (unbatched) or 4D (batched) input": "F.conv2d takes the picture first, then the kernels.",
        "expected input": "kernels have the shape (D, C, p, p): D = len(weight), C = x.shape[1].",
    },
    on_cpu=(),
)
def patch_convolution(x: Tensor, weight: Tensor, bias: Tensor, p: int) -> Tensor:
    """x (B, C, H, W), weight (D, C·p·p), bias (D,) → tokens (B, H/p · W/p, D).

    Dosovitskiy et al. 2021: the linear layer on patches, as a convolution.
    """
    kernel = weight.reshape(len(weight), x.shape[1], p, p)
    return F.conv2d(x, kernel, bias, stride=p).flatten(2).mT
