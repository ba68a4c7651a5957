"""Answers to the exercises of `classifier_guidance`."""

from __future__ import annotations

import torch

from course_utils.diffusion import classifier_guidance


def score_by_autograd(z, mean, std):
    z = z.clone().requires_grad_()
    torch.distributions.Normal(mean, std).log_prob(z).sum().backward()
    return z.grad


def score_from_noise(z, mean, std):
    return -((z - mean) / std) / std


def gradient_by_cross_entropy(classifier, z, t, y):
    with torch.enable_grad():
        z = z.clone().requires_grad_()
        (-torch.nn.functional.cross_entropy(classifier(z, t), y, reduction="sum")).backward()
    return z.grad


def gradient_of_the_course(classifier, z, t, y):
    return classifier_guidance.classifier_gradient(classifier, y)(z, t)


def mean_by_precision(mean, std, gradient, w):
    precision = 1 / std**2
    return (precision * mean + w * gradient) / precision


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
    "gaussian_score": [
        score_by_autograd,
        score_from_noise,
    ],
    "class_gradient": [
        gradient_by_cross_entropy,
        gradient_of_the_course,
    ],
    "guided_mean": [
        mean_by_precision,
        lambda m, s, g, w: torch.addcmul(m, g, w * s * torch.as_tensor(s)),
    ],
    "guided_eps": [
        eps_through_the_score,
        lambda e, s, g, w: torch.addcmul(e, g, torch.as_tensor(-w * s)),
    ],
}

WRONG = {
    "gaussian_score": [
        (lambda z, m, s: (z - m) / s**2, "the sign"),
        (lambda z, m, s: (m - z) / s, "variance std², not by std"),
        (lambda z, m, s: m - z, "variance is missing"),
        (lambda z, m, s: -((z - m) ** 2) / (2 * s**2), "log-density itself"),
    ],
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
    "guided_mean": [
        (lambda m, s, g, w: m + w * s * g, "std², not std"),
        (lambda m, s, g, w: m - w * s**2 * g, "the sign"),
        (lambda m, s, g, w: m + w * g, "Σ is missing"),
        (lambda m, s, g, w: m + s**2 * g, "w is missing"),
        (lambda m, s, g, w: w * s**2 * g, "the mean is missing"),
        (lambda m, s, g, w: torch.add(m, g, alpha=w * s * s), "the notebook has std as a tensor"),
    ],
    "guided_eps": [
        (lambda e, s, g, w: e + w * s * g, "the sign"),
        (lambda e, s, g, w: e - w * g, "σ_t is missing"),
        (lambda e, s, g, w: e - w * g / s, "σ_t multiplies"),
        (lambda e, s, g, w: e - w * s**2 * g, "σ_t once"),
        (lambda e, s, g, w: e - s * g, "w is missing"),
        (lambda e, s, g, w: torch.sub(e, g, alpha=w * s), "the notebook has sigma as a tensor"),
    ],
}
