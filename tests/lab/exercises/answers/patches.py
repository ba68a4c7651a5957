"""Answers to the exercises of `patches`."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_utils.models import vit


def with_a_loop(x, p):
    rows = [x[:, :, i : i + p, j : j + p].flatten(1) for i in range(0, x.shape[2], p) for j in range(0, x.shape[3], p)]
    return torch.stack(rows, dim=1)


def conv(x, w, b, p):
    return F.conv2d(x, w.view(len(w), 3, p, p), b, stride=p)


def order(*axes):
    def answer(x, p):
        b, c, h, w = x.shape
        return x.view(b, c, h // p, p, w // p, p).permute(*axes).reshape(b, -1, c * p * p)

    return answer


RIGHT = {
    "patchify": [
        with_a_loop,
        lambda x, p: F.unfold(x, p, stride=p).mT,
        vit.patchify,
    ],
    "patch_convolution": [
        lambda x, w, b, p: vit.patchify(x, p) @ w.T + b,
        lambda x, w, b, p: F.conv2d(x, w.unflatten(1, (3, p, p)), b, p).flatten(2).transpose(1, 2),
    ],
}

WRONG = {
    "patchify": [
        (lambda x, p: x.reshape(len(x), -1, 3 * p * p), "a reshape alone"),
        (order(0, 2, 4, 3, 5, 1), "the channels come last"),
        (order(0, 4, 2, 1, 3, 5), "down the columns"),
        (order(0, 2, 4, 1, 5, 3), "came out transposed"),
        (order(0, 1, 2, 4, 3, 5), "tokens of their own"),
        (order(0, 4, 2, 1, 5, 3), "height and width are swapped"),
        (lambda x, p: x.reshape(len(x), 3, x.shape[2] / p, p, -1, p), "H // p"),
    ],
    "patch_convolution": [
        (lambda x, w, b, p: conv(x, w, b, p), "a row of tokens"),
        (lambda x, w, b, p: conv(x, w, b, p).flatten(2), "transpose with .mT"),
        (lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p), b).flatten(2).mT, "a window at every pixel"),
        (lambda x, w, b, p: conv(x, w, None, p).flatten(2).mT, "the bias is missing"),
        (lambda x, w, b, p: conv(x, w, b, p).flatten(2).reshape(len(x), -1, len(w)), "reshape does not transpose"),
        (
            lambda x, w, b, p: F.conv2d(x, w.view(len(w), p, p, 3).permute(0, 3, 1, 2), b, stride=p).flatten(2).mT,
            "channel by channel",
        ),
        (lambda x, w, b, p: conv(x, w, b, p).mT.flatten(2).mT, "down the columns"),
        (
            lambda x, w, b, p: F.conv2d(x, w.view(len(w), 3, p, p).mT, b, stride=p).flatten(2).mT,
            "kernel came out transposed",
        ),
    ],
}
