"""Answers to the exercises of `classifier_free_guidance`."""

from __future__ import annotations

import torch


def mask(cond, p, generator):
    return torch.rand(len(cond), generator=generator) < p


def drop_with_bernoulli(cond, null, p, generator):
    drop = torch.bernoulli(torch.full((len(cond), 1), p), generator=generator).bool()
    return torch.where(drop, null, cond)


def drop_with_index(cond, null, p, generator):
    result = cond.clone()
    result[mask(cond, p, generator)] = null
    return result


def drop_with_arithmetic(cond, null, p, generator):
    keep = (torch.rand(len(cond), 1, generator=generator) >= p).float()
    return keep * cond + (1 - keep) * null


def drop_in_a_loop(cond, null, p, generator):
    return torch.stack([null if torch.rand((), generator=generator) < p else row for row in cond])


def whole_batch(cond, null, p, generator):
    return null.expand_as(cond) if torch.rand((), generator=generator) < p else cond


def per_element(cond, null, p, generator):
    return torch.where(torch.rand(cond.shape, generator=generator) < p, null, cond)


def keep_with_p(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], cond, null)


def as_dropout(cond, null, p, generator):
    return torch.nn.functional.dropout(cond, p)


def scaled_rows(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], null, cond / (1 - p))


def zeros(cond, null, p, generator):
    return cond * ~mask(cond, p, generator)[:, None]


def added(cond, null, p, generator):
    return cond + mask(cond, p, generator)[:, None] * null


def removed(cond, null, p, generator):
    return cond[~mask(cond, p, generator)]


def other_generator(cond, null, p, generator):
    return torch.where(mask(cond, p, None)[:, None], null, cond)


def reseeded(cond, null, p, generator):
    return torch.where(mask(cond, p, torch.Generator().manual_seed(0))[:, None], null, cond)


def first_rows(cond, null, p, generator):
    return torch.cat([null.expand(int(p * len(cond)), -1), cond[int(p * len(cond)) :]])


def always_a_tenth(cond, null, p, generator):
    return torch.where(mask(cond, 0.1, generator)[:, None], null, cond)


def always_a_fifth(cond, null, p, generator):
    return torch.where(mask(cond, 0.2, generator)[:, None], null, cond)


def detached(cond, null, p, generator):
    return torch.where(mask(cond, p, generator)[:, None], null.detach(), cond)


def unaligned(cond, null, p, generator):
    return torch.where(mask(cond, p, generator), null, cond)


def in_place(cond, null, p, generator):
    cond[mask(cond, p, generator)] = null
    return cond


def unscaled(v_uncond, v_cond, w):
    return v_uncond + (v_cond - v_uncond)


RIGHT = {
    "cfg_combine": [
        lambda v_uncond, v_cond, w: v_uncond + w * (v_cond - v_uncond),
        lambda v_uncond, v_cond, w: (1 - w) * v_uncond + w * v_cond,
        torch.lerp,
    ],
    "drop_condition": [
        drop_with_bernoulli,
        drop_with_index,
        drop_with_arithmetic,
        drop_in_a_loop,
    ],
    "cfg_paper": [
        lambda u, c, w: (1 + w) * c - w * u,
        lambda u, c, w: c + w * (c - u),
        lambda u, c, w: u + (1 + w) * (c - u),
    ],
    "w_from_w_prime": [
        lambda w_prime: 1 + w_prime,
        lambda w_prime: torch.tensor(w_prime) + 1,
    ],
    "negative_prompt": [
        lambda u, c, n, w, v: u + w * (c - u) - v * (n - u),
        lambda u, c, n, w, v: (1 - w + v) * u + w * c - v * n,
    ],
    "implicit_score": [
        lambda u, c, s: -(c - u) / s,
        lambda u, c, s: (u - c) / s,
        lambda u, c, s: -c / s + u / s,
    ],
}

WRONG = {
    "cfg_combine": [
        (lambda u, c, w: u - w * (c - u), "the sign of the difference"),
        (lambda u, c, w: -(u + w * (c - u)), "the minus cancels"),
        (lambda u, c, w: c + w * (u - c), "swapped: w = 0 must give v_uncond"),
        (unscaled, "guidance_scale is missing"),
        (lambda u, c, w: w * (c - u), "the starting point is missing"),
        (lambda u, c, w: (1 + w) * c - w * u, "1 + w convention"),
        (lambda u, c, w: u + w * c, "they differ by the score of p(z_t)"),
        (lambda u, c, w: u + w, "by Bayes' rule this gradient is s_c − s_u"),
        (lambda u, c, w: torch.cat([u, c]), "expected shape (1, 2, 2, 2), got (2, 2, 2, 2)"),
        (lambda u, c, w: (u + w * (c - u)).mean(1), "along the wrong axis"),
        (lambda u, c, w: (u, c), "got a tuple of 2"),
        (lambda u, c, w: "u + w", "got str"),
        (lambda u, c, w: (u + w * (c - u)) / 0 * 0, "NaN"),
        (lambda u, c: u, "TypeError"),
        (lambda u, c, w: c.sub_(u).mul_(w).add_(u), "in place"),
    ],
    "drop_condition": [
        (whole_batch, "one draw decided for the whole batch"),
        (per_element, "Draw *one* number per row"),
        (keep_with_p, "p and 1 − p are swapped"),
        (as_dropout, "as nn.Dropout does"),
        (scaled_rows, "as nn.Dropout does"),
        (zeros, "rows became zeros"),
        (added, "a kept row *is* cond"),
        (removed, "replaced, not removed"),
        (other_generator, "draw with the generator that is passed in"),
        (reseeded, "each step needs a fresh draw"),
        (first_rows, "each step needs a fresh draw"),
        (always_a_tenth, "dropped with probability p"),
        (always_a_fifth, "at p = 0 some rows were dropped"),
        (detached, "no gradient reaches null"),
        (unaligned, "mask[:, None] makes it (B, 1)"),
        (in_place, "in place"),
        (lambda cond, null, p, generator: cond, "a share of 0.00"),
        (lambda cond, null, p, generator: 0.5, "got float"),
        (lambda cond, null, p, generator: cond[..., None], "expected shape"),
    ],
    "cfg_paper": [
        (lambda u, c, w: (1 + w) * c + w * u, "the sign of the second term"),
        (lambda u, c, w: (1 + w) * u - w * c, "swapped"),
        (lambda u, c, w: u + w * (c - u), "the lecture's convention"),
        (lambda u, c, w: (1 + w) * c - u, "must add up to 1"),
        (lambda u, c, w: (1 + w) * (c - u), "only the step"),
    ],
    "w_from_w_prime": [
        (lambda w: w, "w' = 0 means conditional"),
        (lambda w: w - 1, "the other way round"),
        (lambda w: 1 - w, "more w' is more w"),
        (lambda w: 2 * w, "compare the weights"),
    ],
    "negative_prompt": [
        (lambda u, c, n, w, v: u + w * (c - u) + v * (n - u), "towards what should be avoided"),
        (lambda u, c, n, w, v: n + w * (c - n), "in the place of eps_uncond"),
        (lambda u, c, n, w, v: u + w * (c - u) - v * n, "subtracted whole"),
        (lambda u, c, n, w, v: u + w * (c - u) - v * (n - c), "both are taken from eps_uncond"),
        (lambda u, c, n, w, v: w * (c - u) - v * (n - u), "starting point"),
        (lambda u, c, n, w, v: u + w * (c - u) - w * (n - u), "w_neg is missing"),
        (lambda u, c, n, w, v: u + w * (c - u), "has no say yet"),
        (lambda u, c, n, w, v: 0.3 + w * (c - n), "start at eps_uncond, add w times"),
    ],
    "implicit_score": [
        (lambda u, c, s: (c - u) / s, "the sign"),
        (lambda u, c, s: u - c, "1/σ_t is missing"),
        (lambda u, c, s: c - u, "both the sign and 1/σ_t"),
        (lambda u, c, s: (u - c) * s, "σ_t divides"),
        (lambda u, c, s: (u - c) / s**2, "once is enough"),
        (lambda u, c, s: -c / s, "subtracted from it"),
        (lambda u, c, s: u + c, "Bayes"),
    ],
}
