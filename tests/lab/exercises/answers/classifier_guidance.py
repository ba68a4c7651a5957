"""Answers to the exercises of `classifier_guidance`."""

from __future__ import annotations

import torch

from course_utils.diffusion import classifier_guidance


def gradient_by_cross_entropy(classifier, z, t, y):
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        (-torch.nn.functional.cross_entropy(classifier(z, t), y, reduction="sum")).backward()
    return z.grad


def gradient_of_the_course(classifier, z, t, y):
    return classifier_guidance.classifier_gradient(classifier, y)(z, t)


def step_by_the_package(path, z, z0, gradient, t, s, w, noise):
    prediction = path.from_z0(z0, z, t.expand(len(z)))
    mean, std = classifier_guidance.guided_mean(prediction, s, gradient, w)
    return torch.addcmul(mean, std, noise)


def step_by_hand(path, z, z0, gradient, t, s, w, noise):
    r = path.alpha(t) / path.alpha(s)
    b = path.sigma(t) ** 2 - r**2 * path.sigma(s) ** 2
    variance = b * path.sigma(s) ** 2 / path.sigma(t) ** 2
    mean = (r * path.sigma(s) ** 2 * z + path.alpha(s) * b * z0) / path.sigma(t) ** 2
    return mean + variance * (w * gradient) + variance.sqrt() * noise


def stepped(change):
    """A student's function: change(mean, std, z, gradient, w, noise) of the posterior."""

    def function(path, z, z0, gradient, t, s, w, noise):
        return change(*path.posterior(z, z0, t, s), z, gradient, w, noise)

    return function


def eps_through_the_score(eps, sigma, gradient, w):
    return -sigma * (-eps / sigma + w * gradient)


def gradient_of(value):
    """A student's function with this value, (logits (B, K), y (B,)) → a number, to differentiate."""

    def function(classifier, z, t, y):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            return torch.autograd.grad(value(classifier(z, t), y), z)[0]

    return function


def picked(x, y):
    return x[torch.arange(len(y)), y]


def without_enable_grad(classifier, z, t, y):
    z = z.detach()
    return torch.autograd.grad(picked(classifier(z, t).log_softmax(1), y).sum(), z)[0]


RIGHT = {
    "class_gradient": [
        gradient_by_cross_entropy,
        gradient_of_the_course,
    ],
    "guided_eps": [
        eps_through_the_score,
        lambda e, s, g, w: torch.addcmul(e, g, torch.as_tensor(-w * s)),
    ],
    "guided_step": [
        step_by_the_package,
        step_by_hand,
    ],
    "corrector_score": [
        lambda u, c, w: (2 * w - 1) * c + (2 - 2 * w) * u,
        lambda u, c, w: u + (2 * w - 1) * (c - u),
    ],
}

WRONG = {
    "class_gradient": [
        (gradient_of(lambda x, y: -picked(x.log_softmax(1), y).sum()), "the sign"),
        (gradient_of(lambda x, y: picked(x.log_softmax(1), y).mean()), "take the sum"),
        (gradient_of(torch.nn.functional.cross_entropy), "cross-entropy is −log p"),
        (gradient_of(lambda x, y: picked(x, y).sum()), "logit is not log p"),
        (gradient_of(lambda x, y: picked(x.softmax(1), y).sum()), "gradient of p;"),
        (gradient_of(lambda x, y: x.log_softmax(1).sum()), "pick, in each row, the column y"),
        (gradient_of(lambda x, y: picked(x.log_softmax(1), y)), "autograd wants one number"),
        (without_enable_grad, "torch.enable_grad()"),
        (lambda c, z, t, y: c(z, t), "has the latent's shape"),
    ],
    "guided_eps": [
        (lambda e, s, g, w: e + w * s * g, "the sign"),
        (lambda e, s, g, w: e - w * g, "σ_t is missing"),
        (lambda e, s, g, w: e - w * g / s, "σ_t multiplies"),
        (lambda e, s, g, w: e - w * s**2 * g, "σ_t once"),
        (lambda e, s, g, w: e - s * g, "w is missing"),
        (lambda e, s, g, w: torch.sub(e, g, alpha=w * s), "the notebook has sigma as a tensor"),
    ],
    "guided_step": [
        (stepped(lambda m, std, z, g, w, n: m + w * std * g + std * n), "the square of std"),
        (stepped(lambda m, std, z, g, w, n: m - w * std**2 * g + std * n), "the sign"),
        (stepped(lambda m, std, z, g, w, n: m + w * g + std * n), "Σ is missing"),
        (stepped(lambda m, std, z, g, w, n: m + std**2 * g + std * n), "w is missing"),
        (stepped(lambda m, std, z, g, w, n: m + w * std**2 * g), "the noise is missing"),
        (stepped(lambda m, std, z, g, w, n: m + w * std**2 * g + n), "multiplied by std"),
        (stepped(lambda m, std, z, g, w, n: z + w * std**2 * g + std * n), "not from z_t"),
        (stepped(lambda m, std, z, g, w, n: m + std * n), "the gradient is missing"),
    ],
    "corrector_score": [
        (lambda u, c, w: u + w * (c - u), "this is the guided score"),
        (lambda u, c, w: u + w * (c - u) - 0.5 * c, "a factor ½ β as well"),
        (lambda u, c, w: u + w * (c - u) - c, "double s_w"),
        (lambda u, c, w: 2 * (u + w * (c - u)) - u, "the class's, with s_c"),
        (lambda u, c, w: 2 * (u + w * (c - u)) + c, "bring ½ β s_c"),
    ],
}
