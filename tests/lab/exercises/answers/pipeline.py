"""Answers to the exercises of `pipeline`."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def over(values, z):
    return values[:, None, None, None]


def velocity_by_einsum(z0, eps, d_alpha, d_sigma):
    return torch.einsum("b,bchw->bchw", d_alpha, z0) + torch.einsum("b,bchw->bchw", d_sigma, eps)


def velocity_in_a_loop(z0, eps, d_alpha, d_sigma):
    return torch.stack([a * x + s * e for x, e, a, s in zip(z0, eps, d_alpha, d_sigma, strict=True)])


def through_the_ends(z, v, t, s):
    """Guess data and noise, then place the point between them."""
    z0, eps = z - t * v, z + (1 - t) * v
    return (1 - s) * z0 + s * eps


def through_the_noise(z, z0, t):
    """Find the noise first, then take the line from the data to it."""
    eps = (z - over(1 - t, z) * z0) / over(t, z)
    return eps - z0


def turned(a, b, share):
    """Rotate a in the plane of a and b."""
    cosine = (a * b).sum(-1, keepdim=True)
    angle = torch.acos(cosine)
    across = F.normalize(b - cosine * a, dim=-1)
    return torch.cos(share * angle) * a + torch.sin(share * angle) * across


def two_sines(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def one_angle_for_all(a, b, share):
    angle = torch.acos((a * b).sum(-1))
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def in_degrees(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True)) * 180 / math.pi
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def undivided(a, b, share):
    angle = torch.acos((a * b).sum(-1, keepdim=True))
    return torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b


RIGHT = {
    "path_velocity": [
        lambda z0, eps, a, s: over(a, z0) * z0 + over(s, eps) * eps,
        velocity_by_einsum,
        velocity_in_a_loop,
        lambda z0, eps, a, s: a.view(-1, 1, 1, 1) * z0 + s.view(-1, 1, 1, 1) * eps,
    ],
    "euler_step": [
        lambda z, v, t, s: z + (s - t) * v,
        lambda z, v, t, s: z - (t - s) * v,
        through_the_ends,
    ],
    "slerp": [
        two_sines,
        turned,
    ],
    "velocity_to": [
        lambda z, z0, t: (z - z0) / over(t, z),
        through_the_noise,
        lambda z, z0, t: torch.stack([(x - y) / s for x, y, s in zip(z, z0, t, strict=True)]),
    ],
}

WRONG = {
    "path_velocity": [
        (lambda z0, eps, a, s: a * z0 + s * eps, "spread along the last axis"),
        (lambda z0, eps, a, s: eps - z0, "the straight path only"),
        (lambda z0, eps, a, s: over(a, z0) * eps + over(s, z0) * z0, "the two are swapped"),
        (lambda z0, eps, a, s: over(s, z0) * eps - over(a, z0) * z0, "negative already"),
        (lambda z0, eps, a, s: -over(a, z0) * z0 - over(s, z0) * eps, "walks against it"),
        (lambda z0, eps, a, s: over(a, z0) * z0, "only α and σ depend on t"),
        (lambda z0, eps, a, s: z0.mul_(over(a, z0)) + over(s, z0) * eps, "in place"),
    ],
    "euler_step": [
        (lambda z, v, t, s: z + (t - s) * v, "which is negative on the way"),
        (lambda z, v, t, s: z - s * v, "not s"),
        (lambda z, v, t, s: z - t * v, "the guess of the data"),
        (lambda z, v, t, s: z - v, "a step of length 1"),
        (lambda z, v, t, s: (s - t) * v, "add it to z"),
        (lambda z, v, t, s: z + (s - t) * v / 2, "time × velocity"),
    ],
    "slerp": [
        (lambda a, b, share: (1 - share) * a + share * b, "shorter than 1"),
        (lambda a, b, share: F.normalize(torch.lerp(a, b, share), dim=-1), "pushed out to the sphere"),
        (lambda a, b, share: two_sines(b, a, share), "the ends are swapped"),
        (undivided, "sine of the whole angle is missing"),
        (in_degrees, "angle = acos(a · b)"),
        (one_angle_for_all, "keeps the axis"),
    ],
    "velocity_to": [
        (lambda z, z0, t: (z - z0) / t, "spread along the last axis"),
        (lambda z, z0, t: (z0 - z) / over(t, z), "from the data to the noise"),
        (lambda z, z0, t: z - z0, "divide by t"),
        (lambda z, z0, t: (z - z0) / (1 - over(t, z)), "not 1 − t"),
        (lambda z, z0, t: over(t, z) * (z - z0), "way / time"),
        (lambda z, z0, t: z - over(t, z) * z0, "the guess of the picture"),
        (lambda z, z0, t: z / over(t, z), "at time 0"),
    ],
}
