"""Answers to the exercise of `vae_forward`."""

from __future__ import annotations

import torch
from torch.distributions import Normal


def forward_by_slices(encoder, decoder, x, eps):
    answer, half = encoder(x), eps.shape[1]
    q = Normal(answer[:, :half], (answer[:, half:] / 2).exp())
    return [decoder(q.loc + q.scale * eps), q.loc, answer[:, half:]]


def forward(z_of, last=lambda logvar: logvar):
    """A student's `vae_forward` that decodes z_of(mean, logvar, eps)."""

    def vae_forward(encoder, decoder, x, eps):
        mean, logvar = encoder(x).chunk(2, 1)
        return decoder(z_of(mean, logvar, eps)), mean, last(logvar)

    return vae_forward


def sample(mean, logvar, eps):
    return mean + (0.5 * logvar).exp() * eps


def halves_swapped(encoder, decoder, x, eps):
    logvar, mean = encoder(x).chunk(2, 1)
    return decoder(sample(mean, logvar, eps)), mean, logvar


def not_decoded(encoder, decoder, x, eps):
    mean, logvar = encoder(x).chunk(2, 1)
    return sample(mean, logvar, eps), mean, logvar


def of_two_networks(encoder, decoder, x, eps):
    mean, logvar = encoder(x)
    return decoder(sample(mean, logvar, eps)), mean, logvar


def along_the_batch(encoder, decoder, x, eps):
    mean, logvar = encoder(x).chunk(2)
    return decoder(sample(mean, logvar, eps)), mean, logvar


def everything_decoded(encoder, decoder, x, eps):
    mean, logvar = encoder(x).chunk(2, 1)
    return decoder(encoder(x)), mean, logvar


def untrained(which):
    def vae_forward(encoder, decoder, x, eps):
        mean, logvar = encoder(x).chunk(2, 1)
        z = sample(mean, logvar, eps)
        return (decoder(z.detach()) if which == "z" else decoder(z).detach()), mean, logvar

    return vae_forward


RIGHT = {
    "vae_forward": [
        forward(sample),
        forward_by_slices,
        forward(lambda mean, logvar, eps: torch.addcmul(mean, logvar.exp().sqrt(), eps)),
    ],
}

WRONG = {
    "vae_forward": [
        (forward(lambda m, v, e: m), "notebook 01's autoencoder"),
        (forward(lambda m, v, e: e), "knows nothing of x"),
        (forward(lambda m, v, e: m + v.exp() * e), "is the *variance*"),
        (forward(lambda m, v, e: m + torch.randn_like(m)), "z = mean + exp(½ logvar) · eps; decode z"),
        (forward(sample, lambda v: (v / 2).exp()), "σ was returned where log σ² belongs"),
        (halves_swapped, "the means come first"),
        (not_decoded, "x_hat = decoder(z)"),
        (lambda encoder, decoder, x, eps: forward(sample)(encoder, decoder, x, eps)[::-1], "expected shape"),
        (lambda encoder, decoder, x, eps: forward(sample)(encoder, decoder, x, eps)[0], "expected three tensors"),
        (lambda encoder, decoder, x, eps: forward(sample)(encoder, decoder, x, eps)[:2], "got a tuple of 2"),
        (lambda encoder, decoder, x, eps: (*forward(sample)(encoder, decoder, x, eps)[:2], 1.0), "got float"),
        (of_two_networks, "both halves along axis 1"),
        (along_the_batch, ".chunk(2, dim=1)"),
        (everything_decoded, "as many numbers as eps"),
        (untrained("z"), "a wrong gradient reaches the encoder"),
        (untrained("x_hat"), "gradient reaches the"),
        (lambda encoder, decoder, x, eps: [p.double() for p in forward(sample)(encoder, decoder, x, eps)], "type"),
    ],
}
