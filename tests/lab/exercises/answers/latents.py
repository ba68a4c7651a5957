"""Answers to the exercises of `latents`."""

from __future__ import annotations

import torch


def pearson(x):
    return torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1]


def pearson_by_hand(x):
    a, b = x[..., :-1].flatten(), x[..., 1:].flatten()
    return ((a - a.mean()) * (b - b.mean())).mean() / (a.std(unbiased=False) * b.std(unbiased=False))


def needed(energy, share):
    return int((energy.sort(descending=True).values.cumsum(0) / energy.sum() < share).sum()) + 1


def needed_by_loop(energy, share):
    total, values = 0.0, sorted((float(e) for e in energy), reverse=True)
    for count, value in enumerate(values, start=1):
        total += value
        if total >= share * sum(values):
            return count


RIGHT = {
    "savings": [
        lambda h, w, f, c: 3 * h * w / ((h // f) * (w // f) * c),
        lambda h, w, f, c: 3 * f**2 / c,
    ],
    "neighbours": [
        pearson,
        pearson_by_hand,
    ],
    "needed": [
        needed,
        needed_by_loop,
    ],
    "project": [
        lambda x, m, v: m + (x - m) @ v.T @ v,
        lambda x, m, v: m + torch.stack([sum((row - m) @ d * d for d in v) for row in x]),
    ],
    "halfway": [
        lambda e, d, a, b: d((e(a) + e(b)) / 2),
        lambda e, d, a, b: d(torch.lerp(e(a), e(b), 0.5)),
    ],
}

WRONG = {
    "savings": [
        (lambda h, w, f, c: h * w / ((h / f) * (w / f) * c), "a pixel has three numbers"),
        (lambda h, w, f, c: 3 * f / c, "it counts twice"),
        (lambda h, w, f, c: f * f, "places against places"),
        (lambda h, w, f, c: c / (3 * f * f), "upside down"),
        (lambda h, w, f, c: 3 * f * f * c, "divide by them"),
    ],
    "neighbours": [
        (lambda x: (x[..., :-1] * x[..., 1:]).mean() / (x**2).mean(), "means were not subtracted"),
        (
            lambda x: torch.cov(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()]))[0, 1],
            "this is the covariance",
        ),
        (lambda x: pearson(x.transpose(-1, -2)), "neighbours *below*"),
        (lambda x: torch.corrcoef(torch.stack([x[..., :-1].flatten(), x[..., 1:].flatten()])), "one of its corners"),
    ],
    "needed": [
        (lambda e, s: int((e.cumsum(0) / e.sum() < s).sum()) + 1, "the *largest* first"),
        (lambda e, s: int((e.sort().values.cumsum(0) / e.sum() < s).sum()) + 1, "wrong way round"),
        (lambda e, s: needed(e, s) - 1, "one too few"),
        (lambda e, s: int((e.sort(descending=True).values.cumsum(0) < s).sum()) + 1, "of the whole"),
    ],
    "project": [
        (lambda x, m, v: m + x @ v.T @ v, "subtract the mean"),
        (lambda x, m, v: (x - m) @ v.T @ v, "add the mean again"),
        (lambda x, m, v: x @ v.T @ v, "directions start from the mean"),
        (lambda x, m, v: x - (x - m) @ v.T @ v, "what gets lost"),
        (lambda x, m, v: (x - m) @ v.T, "the few numbers"),
    ],
    "halfway": [
        (lambda e, d, a, b: (d(e(a)) + d(e(b))) / 2, "after decoding"),
        (lambda e, d, a, b: (a + b) / 2, "encode first"),
        (lambda e, d, a, b: d(e((a + b) / 2)), "before encoding"),
        (lambda e, d, a, b: d(e(a) + e(b)), "a sum is not a mean"),
        (lambda e, d, a, b: (e(a) + e(b)) / 2, "still a latent"),
    ],
}
