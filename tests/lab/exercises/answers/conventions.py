"""Answers to the exercises of `conventions`."""

from __future__ import annotations

import torch

from course_utils.images import to_float


def count(s, f, a, c, b, p):
    return s * f * ((a - 1) * c + 1) * b * p


def count_by_loops(s, f, a, c, b, p):
    return sum(1 for _ in range(s * f * b * p) for worn in range(a) for _ in range(c if worn else 1))


RIGHT = {
    "to_model": [
        lambda x: x.float() / 127.5 - 1,
        lambda x: 2 * (x / 255) - 1,
        lambda x: (x.double() - 127.5).float() / 127.5,
        to_float,
    ],
    "count_plushies": [
        count,
        count_by_loops,
    ],
    "mix": [
        lambda z, e, t: (1 - t) * z + t * e,
        lambda z, e, t: z + t * (e - z),
        torch.lerp,
    ],
}

WRONG = {
    "to_model": [
        (lambda x: x / 255, "this is [0, 1]"),
        (lambda x: x.float() / 128 - 1, "half of 255, not of 256"),
        (lambda x: (x - 1) / 127.5, "0 - 1 is 255"),
        (lambda x: 1 - x / 127.5, "turned round"),
        (lambda x: x / 255 * 2, "the shift is missing"),
        (lambda x: x - 127.5, "the scale is missing"),
        (lambda x: (x.double() - 127.5) / 127.5, "expected torch.float32, got torch.float64"),
    ],
    "count_plushies": [
        (lambda s, f, a, c, b, p: s * f * a * c * b * p, "nothing has no colour"),
        (lambda s, f, a, c, b, p: s * f * (1 + a * c) * b * p, "counted twice"),
        (lambda s, f, a, c, b, p: s * f * (a - 1) * c * b * p, "wear nothing are missing"),
        (lambda *n: sum(n), "choices multiply"),
    ],
    "mix": [
        (lambda z, e, t: t * z + (1 - t) * e, "t = 0 is data"),
        (lambda z, e, t: z + t * e, "its factor is 1 - t"),
        (lambda z, e, t: (1 - t) ** 0.5 * z + t**0.5 * e, "another path"),
        (lambda z, e, t: (z + e) / 2, "t must decide"),
    ],
}
