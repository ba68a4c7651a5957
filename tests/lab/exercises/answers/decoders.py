"""Answers to the exercises of `decoders`."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def unit(f, dim=1):
    return f / (torch.linalg.vector_norm(f, dim=dim, keepdim=True) + 1e-10)


def layer(f, g, w):
    return ((unit(f) - unit(g)) ** 2 * w[None, :, None, None]).sum(1).mean((1, 2))


def layer_by_einsum(f, g, w):
    d = F.normalize(f, dim=1, eps=1e-10) - F.normalize(g, dim=1, eps=1e-10)
    return torch.einsum("bchw,bchw,c->b", d, d, w) / (f.shape[2] * f.shape[3])


def layer_place_by_place(f, g, w):
    f, g = (unit(v).flatten(2).transpose(1, 2) for v in (f, g))  # (B, places, C)
    return ((f - g).square() @ w).mean(1)


def guess_by_descent(samples):
    a = torch.zeros(samples.shape[1:], requires_grad=True)
    for _ in range(200):
        loss = ((samples - a) ** 2).mean(0).sum()
        (gradient,) = torch.autograd.grad(loss, a)
        a = (a - 0.3 * gradient).detach().requires_grad_()
    return a.detach()


def weigh(squares, w):
    return (squares * w[None, :, None, None]).sum(1).mean((1, 2))


def no_epsilon(f, g, w):
    return weigh((f / f.norm(dim=1, keepdim=True) - g / g.norm(dim=1, keepdim=True)) ** 2, w)


RIGHT = {
    "best_guess": [
        lambda samples: samples.mean(0),
        lambda samples: sum(samples) / len(samples),
        guess_by_descent,
    ],
    "layer_distance": [
        layer,
        layer_by_einsum,
        layer_place_by_place,
    ],
    "hinge_critic": [
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(),
        lambda r, f: (1 - r).clamp(min=0).mean() + (1 + f).clamp(min=0).mean(),
        lambda r, f: -(r - 1).clamp(max=0).mean() - (-f - 1).clamp(max=0).mean(),
    ],
    "hinge_decoder": [
        lambda fake: -fake.mean(),
        lambda fake: -fake.sum() / fake.numel(),
    ],
    "adaptive_weight": [
        lambda r, a: r.norm() / (a.norm() + 1e-6),
        lambda r, a: r.square().sum().sqrt() / (a.square().sum().sqrt() + 1e-6),
    ],
}

WRONG = {
    "best_guess": [
        (lambda s: s.median(0).values, "best under L1"),
        (lambda s: s.sum(0), "divide by the number of pictures"),
        (lambda s: s[0], "one of the pictures is not the best guess"),
        (lambda s: (s.amin(0) + s.amax(0)) / 2, "the *largest* distance"),
        (lambda s: s.mean().expand(s.shape[1:]), "one grey for the whole picture"),
        (lambda s: s.square().mean(0).sqrt(), "no squares in the answer"),
        (lambda s: s.mean(1), "along the wrong axis"),
        (lambda s: s.std(0), "Differentiate by a"),
    ],
    "layer_distance": [
        (lambda f, g, w: weigh((f - g) ** 2, w), "not brought to unit length"),
        (lambda f, g, w: weigh((unit(f, (2, 3)) - unit(g, (2, 3))) ** 2, w), "over places"),
        (lambda f, g, w: weigh((unit(f, (1, 2, 3)) - unit(g, (1, 2, 3))) ** 2, w), "one norm"),
        (lambda f, g, w: weigh((unit(f) - unit(g)).abs(), w), "squared, not made positive"),
        (lambda f, g, w: ((unit(f) - unit(g)) ** 2).sum(1).mean((1, 2)), "w are missing"),
        (lambda f, g, w: weigh((unit(f) - unit(g)) ** 2, w**2), "it was squared too"),
        (lambda f, g, w: layer(f, g, w) * f[0, 0].numel(), "*mean* over places"),
        (lambda f, g, w: layer(f, g, w) / f.shape[1], "*sum* over channels"),
        (lambda f, g, w: weigh((unit(f) - unit(g)) ** 2, w).mean(), "expected shape"),
        (lambda f, g, w: 2 - 2 * (unit(f) * unit(g)).sum(1).mean((1, 2)), "w are missing"),
        (lambda f, g, w: ((unit(f) - unit(g)) ** 2 * w).sum(1).mean((1, 2)), "lines it up"),
        (no_epsilon, "0 / 0"),
    ],
    "hinge_critic": [
        (lambda r, f: F.relu(1 - f).mean() + F.relu(1 + r).mean(), "swapped"),
        (lambda r, f: (1 - r).mean() + (1 + f).mean(), "the hinge is missing"),
        (lambda r, f: F.relu(-r).mean() + F.relu(f).mean(), "the margin is missing"),
        (lambda r, f: F.relu(1 - r).mean() + F.relu(1 - f).mean(), "fall *below* −1"),
        (lambda r, f: (F.relu(1 - r).mean() + F.relu(1 + f).mean()) / 2, "pays 2"),
        (lambda r, f: F.relu(1 - r).sum() + F.relu(1 + f).sum(), "not sum"),
        (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), "logistic loss"),
        (lambda r, f: F.relu(1 - r.mean()) + F.relu(1 + f.mean()), "each patch has to pass"),
        (lambda r, f: F.relu(1 - r).mean(), "the two means added"),
    ],
    "hinge_decoder": [
        (lambda f: f.mean(), "wants *high* scores"),
        (lambda f: F.relu(1 - f).mean(), "no hinge on this side"),
        (lambda f: F.relu(1 + f).mean(), "the critic's side"),
        (lambda f: -f.sum(), "not sum"),
        (lambda f: -F.relu(f).mean(), "must still be felt"),
        (lambda f: F.softplus(-f).mean(), "logistic loss"),
        (lambda f: -f, "expected shape"),
    ],
    "adaptive_weight": [
        (lambda r, a: a.norm() / (r.norm() + 1e-6), "upside down"),
        (lambda r, a: r.square().sum() / (a.square().sum() + 1e-6), "squared norms"),
        (lambda r, a: r.abs().sum() / (a.abs().sum() + 1e-6), "sums of absolute values"),
        (lambda r, a: r.abs().max() / (a.abs().max() + 1e-6), "largest entries"),
        (lambda r, a: r.mean() / (a.mean() + 1e-6), "cancel each other"),
        (lambda r, a: r.norm() * a.norm(), "a product"),
        (lambda r, a: r.norm() / a.norm(), "says nothing has gradient 0"),
        (lambda r, a: r / (a + 1e-6), "expected shape"),
    ],
}
