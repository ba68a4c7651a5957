"""A VAE's `forward`: encode, sample, decode; checked for its values and for what is trained through it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, difference, exercise, hint_for, noise
from course_utils.lab.exercises.returns import TENSOR, Returns, Wrong, named

_THREE = "return x_hat, mean, logvar: what the decoder made, and the posterior that the KL term needs."
_THREE_TENSORS = Returns("three tensors (x_hat, mean, logvar)", (tuple, list), tensors=False, cure=_THREE)


def _filled(network: nn.Module, seed: int) -> nn.Module:
    for i, weights in enumerate(network.parameters()):
        weights.data.copy_(0.3 * noise(*weights.shape, seed=seed + i))
    return network


def _forward_inputs() -> list[tuple[nn.Module, nn.Module, Tensor, Tensor]]:
    """(encoder, decoder, x, eps): once with latent vectors, as the toy has them, and once with maps."""
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), nn.Sequential(nn.Linear(3, 12), nn.Unflatten(1, (3, 2, 2)))
    maps = nn.Conv2d(3, 8, 1), nn.Conv2d(4, 3, 1)
    return [
        (_filled(flat[0], 20), _filled(flat[1], 30), noise(5, 3, 2, 2, seed=8), noise(5, 3, seed=9)),
        (_filled(maps[0], 40), _filled(maps[1], 50), noise(2, 3, 4, 4, seed=8), noise(2, 4, 4, 4, seed=9)),
    ]


def _by_quantiles(encoder: nn.Module, decoder: nn.Module, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The answer by way of probability, in float64: z lies in its normal where ε lies in the standard normal."""
    half = eps.shape[1]
    answer = encoder(x.double())
    mean, logvar = answer[:, :half], answer[:, half:]
    z = Normal(mean, logvar.exp().sqrt()).icdf(Normal(0.0, 1.0).cdf(eps.double()))
    return decoder(z), mean, logvar


def _three(answer: Sequence, inputs: tuple) -> list[Tensor]:
    """The answer's tensors, or `Wrong`."""
    if len(answer) != 3:
        raise Wrong(f"expected three tensors (x_hat, mean, logvar), got {named(answer)}", _THREE)
    for part in answer:
        TENSOR.look(part, inputs)
    return list(answer)


def _alike(a: Sequence[Tensor], b: Sequence[Tensor]) -> bool:
    return all(
        p.shape == q.shape and torch.allclose(p.detach().double(), q.detach().double(), rtol=1e-4, atol=1e-4)
        for p, q in zip(a, b, strict=True)
    )


def _check_forward(attempt: Attempt) -> None:
    every = _forward_inputs()
    answers = [_three(attempt(*inputs), inputs) for inputs in every]
    for (encoder, decoder, x, eps), got in zip(every, answers, strict=True):
        exact = copy.deepcopy(encoder).double(), copy.deepcopy(decoder).double()
        expected = _by_quantiles(*exact, x, eps)
        if not _alike(got, expected):
            _explain_forward(every, answers)
            words = f"for latents of shape {tuple(eps.shape[1:])}: "
            for part, right, name in zip(got, expected, ("x_hat", "mean", "logvar"), strict=True):
                case = Case((), right.detach(), words + name)
                if not torch.allclose(as_tensor(part, case), case.expected, rtol=1e-4, atol=1e-4):
                    raise Wrong(difference(part.detach().double(), case, 1e-4), _STEPS)
        if any(part.dtype != torch.float32 for part in got):
            raise Wrong("the values are right, but their type is not that of x", "no .double(), .half() on the way.")
        for network, copied, name in ((encoder, exact[0], "encoder"), (decoder, exact[1], "decoder")):
            _check_it_learns(attempt, got, network, expected, copied, name)


def _explain_forward(every: Sequence[tuple], answers: Sequence[list[Tensor]]) -> None:
    """`Wrong` with the hint of a known mistake, if one explains all answers."""
    hint = hint_for(
        _FORWARD_MISTAKES,
        lambda mistake: all(_alike(got, mistake.answer(*inputs)) for got, inputs in zip(answers, every, strict=True)),
    )
    if hint:
        raise Wrong("not x_hat, mean and logvar of the picture's posterior", hint)


def _check_it_learns(
    attempt: Attempt,
    got: Sequence[Tensor],
    network: nn.Module,
    expected: Sequence[Tensor],
    copied: nn.Module,
    name: str,
) -> None:
    """Both networks are trained through the answer: their gradients, against those of the independent answer."""

    def weighted(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack([(noise(*p.shape, seed=60).to(p) * p).sum() for p in parts]).sum()

    loss, leaves = weighted(got), list(network.parameters())
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if loss.requires_grad:
        found = attempt.run(torch.autograd.grad, loss, leaves, retain_graph=True, allow_unused=True)
    right = torch.autograd.grad(weighted(expected), list(copied.parameters()), retain_graph=True)
    for a, b in zip(found, right, strict=True):
        if a is None or not torch.allclose(a.double(), b, rtol=1e-2, atol=1e-3):
            raise Wrong(
                f"the values are right, but {'no' if a is None else 'a wrong'} gradient reaches the {name}",
                "both networks are trained through this answer: no .detach(), .data or no_grad.",
            )


_STEPS = "encoder(x) holds C means and then C log-variances along axis 1; z = mean + exp(½ logvar) · eps; decode z."


def _halves(encoder: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    mean, logvar = encoder(x).chunk(2, dim=1)
    return mean, logvar


def _with_z(encoder, decoder, x, z_of) -> tuple[Tensor, Tensor, Tensor]:
    mean, logvar = _halves(encoder, x)
    return decoder(z_of(mean, logvar)), mean, logvar


def _swapped(encoder, decoder, x, eps) -> tuple[Tensor, Tensor, Tensor]:
    logvar, mean = _halves(encoder, x)
    return decoder(mean + (0.5 * logvar).exp() * eps), mean, logvar


def _not_decoded(encoder, decoder, x, eps) -> tuple[Tensor, Tensor, Tensor]:
    mean, logvar = _halves(encoder, x)
    return mean + (0.5 * logvar).exp() * eps, mean, logvar


def _posterior_first(encoder, decoder, x, eps) -> tuple[Tensor, Tensor, Tensor]:
    x_hat, mean, logvar = _with_z(encoder, decoder, x, lambda m, v: m + (0.5 * v).exp() * eps)
    return mean, logvar, x_hat


def _std_for_logvar(encoder, decoder, x, eps) -> tuple[Tensor, Tensor, Tensor]:
    x_hat, mean, logvar = _with_z(encoder, decoder, x, lambda m, v: m + (0.5 * v).exp() * eps)
    return x_hat, mean, (0.5 * logvar).exp()


_FORWARD_MISTAKES = [
    Mistake(
        lambda encoder, decoder, x, eps: _with_z(encoder, decoder, x, lambda m, v: m),
        "the decoder got the mean, and eps was not used: this is notebook 01's autoencoder. Decode a *sample*.",
    ),
    Mistake(
        lambda encoder, decoder, x, eps: _with_z(encoder, decoder, x, lambda m, v: eps),
        "the decoder got eps, which knows nothing of x. Move and scale it: z = mean + exp(½ logvar) · eps.",
    ),
    Mistake(_swapped, "swapped: along axis 1 the means come first, then the log-variances."),
    Mistake(_not_decoded, "the sample z was returned where its decoded picture belongs: x_hat = decoder(z)."),
    Mistake(_posterior_first, "the order: x_hat comes first, then mean and logvar."),
    Mistake(
        _std_for_logvar,
        "σ was returned where log σ² belongs: your kl_to_prior takes the log-variance, as the encoder gave it.",
    ),
    Mistake(
        lambda encoder, decoder, x, eps: _with_z(encoder, decoder, x, lambda m, v: m + v.exp() * eps),
        "exp(logvar) is the *variance*; eps is scaled by σ = exp(½ logvar). Your `reparameterise` does it.",
    ),
]


@exercise(
    check=_check_forward,
    mistakes=_FORWARD_MISTAKES,
    on_error={
        "not enough values to unpack": "encoder(x) is one tensor with both halves along axis 1: .chunk(2, dim=1).",
        "too many values to unpack": "encoder(x) is one tensor with both halves along axis 1: .chunk(2, dim=1).",
        "shapes cannot be multiplied": "the decoder takes z, which has as many numbers as eps.",
        "to have 4 channels": "the decoder takes z, which has as many channels as eps.",
        "must match the size": "mean, logvar and eps have one shape: split along axis 1, .chunk(2, dim=1).",
    },
    returns=_THREE_TENSORS,
    on_cpu=(),
)
def vae_forward(encoder: nn.Module, decoder: nn.Module, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Networks, pictures x (B, ...) and eps ~ N(0, I) (B, C, ...) → (x_hat, mean, logvar), through one sample.

    encoder(x) is (B, 2C, ...): C means, then C log-variances. decoder(z) takes a latent (B, C, ...) and gives x_hat in
    the shape of x. mean and logvar are (B, C, ...). Kingma and Welling 2014, section 2.4.
    """
    mean, logvar = encoder(x).chunk(2, dim=1)
    return decoder(mean + torch.exp(0.5 * logvar) * eps), mean, logvar
