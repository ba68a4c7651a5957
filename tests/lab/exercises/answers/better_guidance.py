"""Answers to the exercises of `better_guidance`."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def over(values, z):
    return values[:, None, None, None]


def inside(t, low, high):
    return ((t > low) & (t <= high))[:, None, None, None]


def scale_of_each(v_u, v_c, w, t, low, high):
    scale = torch.where((t > low) & (t <= high), w, 1.0)
    return v_u + over(scale, v_u) * (v_c - v_u)


def one_by_one(v_u, v_c, w, t, low, high):
    rows = [u + w * (c - u) if low < float(x) <= high else c for u, c, x in zip(v_u, v_c, t, strict=True)]
    return torch.stack(rows)


def with_if(v_u, v_c, w, t, low, high):
    if t > low and t <= high:
        return v_u + w * (v_c - v_u)
    return v_c


def no_axis(v_u, v_c, w, t, low, high):
    return torch.where((t > low) & (t <= high), v_u + w * (v_c - v_u), v_c)


def by_unit_vectors(u, c, w, eta):
    delta, unit = c - u, F.normalize(c, dim=1)
    along = torch.einsum("bd,bd->b", delta, unit)[:, None] * unit
    return c + (w - 1) * (delta - (1 - eta) * along)


def by_matrices(u, c, w, eta):
    onto = c[:, :, None] * c[:, None, :] / c.square().sum(1)[:, None, None]
    delta = (c - u)[:, :, None]
    return c + (w - 1) * (delta - (1 - eta) * onto @ delta)[..., 0]


def along(delta, c):
    return (delta * c).sum(1, keepdim=True) / (c * c).sum(1, keepdim=True) * c


def across(u, c):
    return c - u - along(c - u, c)


def no_kept_axis(u, c, w, eta):
    delta = c - u
    part = (delta * c).sum(1) / (c * c).sum(1) * c
    return c + (w - 1) * (delta - (1 - eta) * part)


def batch_as_one(u, c, w, eta):
    delta = c - u
    part = (delta * c).sum() / (c * c).sum() * c
    return c + (w - 1) * (delta - (1 - eta) * part)


RIGHT = {
    "interval_guidance": [
        lambda u, c, w, t, low, high: torch.where(inside(t, low, high), u + w * (c - u), c),
        scale_of_each,
        one_by_one,
    ],
    "projected_guidance": [
        lambda u, c, w, eta: c + (w - 1) * (across(u, c) + eta * along(c - u, c)),
        by_unit_vectors,
        by_matrices,
    ],
    "cfgpp_step": [
        lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)) + s * n_u,
        lambda u, c, n_u, n_c, lam, a, s: a * torch.lerp(u, c, lam) + s * n_u,
        lambda u, c, n_u, n_c, lam, a, s: a * ((1 - lam) * u + lam * c) + s * n_u,
    ],
}

WRONG = {
    "interval_guidance": [
        (
            lambda u, c, w, t, low, high: torch.where(inside(t, low, high), u + w * (c - u), u),
            "the prompt still counts",
        ),
        (lambda u, c, w, t, low, high: inside(t, low, high) * (u + w * (c - u)), "a velocity all the same"),
        (
            lambda u, c, w, t, low, high: torch.where(inside(t, low, high), c, u + w * (c - u)),
            "inside and outside are swapped",
        ),
        (
            lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t < high), u), u + w * (c - u), c),
            "the other way round",
        ),
        (
            lambda u, c, w, t, low, high: torch.where(over((t >= low) & (t <= high), u), u + w * (c - u), c),
            "low itself lies outside",
        ),
        (lambda u, c, w, t, low, high: u + w * (c - u), "every latent was guided"),
        (lambda u, c, w, t, low, high: c, "no latent was guided"),
        (lambda u, c, w, t, low, high: torch.where(inside(t, low, high), c + w * (c - u), c), "1 + w convention"),
        (with_if, "choose with torch.where"),
        (no_axis, "spreads it over the latent"),
    ],
    "projected_guidance": [
        (lambda u, c, w, eta: c + (w - 1) * (along(c - u, c) + eta * across(u, c)), "the other way round"),
        (lambda u, c, w, eta: c + (w - 1) * (c - u - (1 - eta) * along(c - u, u)), "not on z0_u"),
        (lambda u, c, w, eta: c + w * (across(u, c) + eta * along(c - u, c)), "go on by w − 1"),
        (lambda u, c, w, eta: u + w * (across(u, c) + eta * along(c - u, c)), "start at z0_c"),
        (lambda u, c, w, eta: c + (w - 1) * (c - u), "plain CFG"),
        (lambda u, c, w, eta: c + (w - 1) * across(u, c), "a share eta of it is to be kept"),
        (
            lambda u, c, w, eta: c + (w - 1) * (c - u - (1 - eta) * ((c - u) * c).sum(1, keepdim=True) * c),
            "squared length",
        ),
        (batch_as_one, "a product of its own"),
        (no_kept_axis, "row by row"),
    ],
    "cfgpp_step": [
        (lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)) + s * (n_u + lam * (n_c - n_u)), "was guided, too"),
        (lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)) + s * n_c, "the unconditional one"),
        (lambda u, c, n_u, n_c, lam, a, s: a * u + s * (n_u + lam * (n_c - n_u)), "are swapped"),
        (lambda u, c, n_u, n_c, lam, a, s: a * (c + lam * (u - c)) + s * n_u, "at λ = 1 it is z0_c"),
        (lambda u, c, n_u, n_c, lam, a, s: s * (u + lam * (c - u)) + a * n_u, "α goes with the data"),
        (lambda u, c, n_u, n_c, lam, a, s: u + lam * (c - u) + s * n_u, "scaled by α_s"),
        (lambda u, c, n_u, n_c, lam, a, s: a * (u + lam * (c - u)), "first the guess"),
    ],
}
