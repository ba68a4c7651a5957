"""Answers to the exercises of `few_steps`."""

from __future__ import annotations

import torch


def guided(f, z, t, y, w):
    free = f(z, t, -torch.ones_like(y))
    return free + w[:, None] * (f(z, t, y) - free)


def loss(m, target, z, t, y, w, s=None):
    return (m(z, t, t if s is None else s, y, w) - target).square().sum(1).mean()


def in_one_batch(m, f, z, t, y, w):
    with torch.no_grad():
        free, told = f(torch.cat([z, z]), torch.cat([t, t]), torch.cat([torch.full_like(y, -1), y])).chunk(2)
    return ((m(z, t, t, y, w) - torch.lerp(free, told, w[:, None])) ** 2).sum() / len(z)


def all_constant(m, f, z, t, y, w):
    with torch.no_grad():
        return loss(m, guided(f, z, t, y, w), z, t, y, w)


def no_axis(m, f, z, t, y, w):
    free = f(z, t, torch.full_like(y, -1))
    return loss(m, free + w * (f(z, t, y) - free), z, t, y, w)


def walk(step, z, t, s):
    return z - (t - s)[:, None] * step(z, t, s)


def ends(step, z, t, s):
    m = (t + s) / 2
    return walk(step, walk(step, z, t, m), m, s)


def mean_of_both(step, z, t, s):
    m = (t + s) / 2
    first = step(z, t, m)
    return (first + step(z - (t - s)[:, None] / 2 * first, m, s)) / 2


def both_at_the_start(step, z, t, s):
    m = (t + s) / 2
    return (step(z, t, m) + step(z, m, s)) / 2


def no_kept_axis(step, z, t, s):
    m = (t + s) / 2
    middle = z - (t - m) * step(z, t, m)
    return (z - (middle - (m - s) * step(middle, m, s))) / (t - s)


def first_half_twice(step, z, t, s):
    m = (t + s) / 2
    middle = walk(step, z, t, m)
    return (z - walk(step, middle, t, m)) / (t - s)[:, None]


def loop(step, z, n):
    for k in range(n, 0, -1):
        z = z - step(z, torch.full((len(z),), k / n), torch.full((len(z),), (k - 1) / n)) / n
    return z


def with_a_grid(step, z, n):
    times = torch.linspace(1, 0, n + 1)
    for t, s in zip(times[:-1], times[1:], strict=True):
        z = z - (t - s) * step(z, t.expand(len(z)), s.expand(len(z)))
    return z


def upwards(step, z, n):
    for k in range(n, 0, -1):
        z = z + step(z, torch.full((len(z),), k / n), torch.full((len(z),), (k - 1) / n)) / n
    return z


def to_the_end(step, z, n):
    for k in range(n, 0, -1):
        z = z - step(z, torch.full((len(z),), k / n), torch.zeros(len(z))) / n
    return z


def with_numbers(step, z, n):
    for k in range(n, 0, -1):
        z = z - step(z, k / n, (k - 1) / n) / n
    return z


RIGHT = {
    "distilled_loss": [
        lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w).detach(), z, t, y, w),
        lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w), z, t, y, w),
        in_one_batch,
    ],
    "two_into_one": [
        lambda step, z, t, s: (z - ends(step, z, t, s)) / (t - s)[:, None],
        mean_of_both,
    ],
    "few_steps": [loop, with_a_grid],
}

WRONG = {
    "distilled_loss": [
        (lambda m, f, z, t, y, w: loss(m, f(z, t, y), z, t, y, w), "learn w = 1 for every w"),
        (lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w + 1), z, t, y, w), "1 + w convention"),
        (lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, 1 - w), z, t, y, w), "swapped"),
        (lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w), z, t, y, w, s=0 * t), "asked for the whole way"),
        (lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w), z, t, y, w) / 2, "mean over all numbers"),
        (lambda m, f, z, t, y, w: loss(m, guided(f, z, t, y, w), z, t, y, w) * len(z), "grow with the batch"),
        (all_constant, "gradient reaches the student"),
        (no_axis, "one factor for each point"),
    ],
    "two_into_one": [
        (lambda step, z, t, s: step(z, t, s), "one step, as it was before"),
        (both_at_the_start, "before you ask again"),
        (ends, "where the two steps end"),
        (lambda step, z, t, s: z - ends(step, z, t, s), "the whole way"),
        (lambda step, z, t, s: (ends(step, z, t, s) - z) / (t - s)[:, None], "the sign"),
        (first_half_twice, "from the middle to s"),
        (no_kept_axis, "has (B, 1)"),
    ],
    "few_steps": [
        (lambda step, z, n: z - step(z, torch.ones(len(z)), torch.zeros(len(z))), "always one step"),
        (upwards, "the sign"),
        (to_the_end, "the next time only"),
        (with_numbers, "torch.full"),
    ],
}
