"""Answers to the exercises of `diffusion`."""

from __future__ import annotations

import torch


def noised_by_diag(z0, eps, alpha, sigma):
    return torch.diag(alpha) @ z0 + torch.diag(sigma) @ eps


def z_of(z0, eps, alpha, sigma):
    return alpha.view(-1, 1) * z0 + sigma.view(-1, 1) * eps


def loss_by_mse(model, z0, eps, t, alpha, sigma):
    z = z_of(z0, eps, alpha, sigma)
    return torch.nn.functional.mse_loss(model(z, t), eps, reduction="sum") / len(z)


def loss_by_row(model, z0, eps, t, alpha, sigma):
    return (eps - model(z_of(z0, eps, alpha, sigma), t)).norm(dim=1).pow(2).mean()


def step_by_the_angle_of_ddim(z, eps_hat, alpha_t, sigma_t, alpha_s, sigma_s, noise):
    """DDIM's eq. 12 with the posterior's standard deviation."""
    z0 = (z - sigma_t * eps_hat) / alpha_t
    var = (sigma_s**2 / sigma_t**2) * (sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2)
    return alpha_s * z0 + (sigma_s**2 - var).clamp(min=0).sqrt() * eps_hat + var.sqrt() * noise


def velocity_by_z(eps, z, alpha, sigma, d_alpha, d_sigma):
    """The data's part of z moves at α′ / α."""
    return d_alpha / alpha * z + (d_sigma - sigma * d_alpha / alpha) * eps


def detached(model, z0, eps, t, alpha, sigma):
    with torch.no_grad():
        return loss_by_mse(model, z0, eps, t, alpha, sigma)


def step_with(z, e, at, st, a, s, n, std):
    r = at / a
    b = st**2 - r**2 * s**2
    mean = (r * s**2 * z + a * b * (z - st * e) / at) / st**2
    return mean + std(b, s / st) * n


def dividing_by_sigma_s(z, e, at, st, a, s, n):
    r = at / a
    b = st**2 - r**2 * s**2
    precision = 1 / s**2 + r**2 / b
    mean = (a * (z - st * e) / at / s**2 + r * z / b) / precision
    return mean * (s / s) + precision.rsqrt() * n


RIGHT = {
    "add_noise": [
        noised_by_diag,
        lambda z0, e, a, s: torch.einsum("b,bd->bd", a, z0) + torch.einsum("b,bd->bd", s, e),
    ],
    "noise_loss": [loss_by_mse, loss_by_row],
    "ddpm_step": [step_by_the_angle_of_ddim],
    "eps_to_velocity": [velocity_by_z],
}

WRONG = {
    "add_noise": [
        (lambda z0, e, a, s: a * z0 + s * e, "each *point* has its own"),
        (lambda z0, e, a, s: a[:, None] * z0 + s[:, None] ** 2 * e, "no square"),
        (lambda z0, e, a, s: a[:, None] ** 0.5 * z0 + s[:, None] * e, "DDPM's ᾱ"),
        (lambda z0, e, a, s: z0 + s[:, None] * e, "α is missing"),
        (lambda z0, e, a, s: z0 * s[:, None] + e * a[:, None], "swapped"),
        (lambda z0, e, a, s: a[:, None] * z0 - s[:, None] * e, "minus for a plus"),
    ],
    "noise_loss": [
        (lambda m, z0, e, t, a, s: (m(z_of(z0, e, a, s), t) - e).square().mean(), "mean over all numbers"),
        (lambda m, z0, e, t, a, s: (m(z_of(z0, e, a, s), t) - e).square().sum(), "sum over the batch"),
        (lambda m, z0, e, t, a, s: (m(z_of(z0, e, a, s), t) - e).norm(dim=1).mean(), "without the root"),
        (lambda m, z0, e, t, a, s: (m(z_of(z0, e, a, s), t) - z0).square().sum(1).mean(), "not the data"),
        (lambda m, z0, e, t, a, s: (m(z0, t) - e).square().sum(1).mean(), "saw z₀ itself"),
        (lambda m, z0, e, t, a, s: (m(z_of(z0, e, a, s), t) - e).square().sum(1), "expected shape ()"),
        (detached, "no gradient reaches z0"),
    ],
    "ddpm_step": [
        (lambda *given: step_with(*given, std=lambda b, ratio: b * ratio**2), "*root* of Σ"),
        (lambda *given: step_with(*given, std=lambda b, ratio: b.sqrt()), "leaves less"),
        (lambda *given: step_with(*given, std=lambda b, ratio: 0), "noise is missing"),
        (lambda z, e, at, st, a, s, n: a * (z - st * e) / at + s * n, "forgets z_t"),
        (lambda z, e, at, st, a, s, n: a * (z - st * e) / at + s * e, "DDIM's step"),
        (dividing_by_sigma_s, "NaN"),
    ],
    "eps_to_velocity": [
        (lambda e, z, a, s, da, ds: da * z + ds * e, "z_t stands where z₀ belongs"),
        (lambda e, z, a, s, da, ds: da * (z - s * e) + ds * e, "division by α is missing"),
        (lambda e, z, a, s, da, ds: ds * (z - s * e) / a + da * e, "swapped"),
        (lambda e, z, a, s, da, ds: -da * (z - s * e) / a - ds * e, "the sign"),
        (lambda e, z, a, s, da, ds: e - (z - s * e) / a, "straight path only"),
    ],
}
