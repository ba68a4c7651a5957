"""Sharper decoders: the L2 guess, LPIPS, hinge losses and the adaptive weight."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.lab.exercises.attempt import Attempt
from course_utils.lab.exercises.checking import Case, Mistake, as_tensor, exercise, noise
from course_utils.lab.exercises.returns import FACTOR, Wrong


def _guess_cases() -> list[Case]:
    """The expected guess is a least-squares fit of one row to all rows: no mean is taken."""
    by_hand = torch.tensor([0.0, 0.0, 3.0])[:, None, None, None].expand(3, 3, 2, 2)
    cases = []
    for samples, words in (
        (by_hand, "for pictures that are 0, 0 and 3 everywhere"),
        (noise(7, 3, 4, 5, seed=0).exp(), "for seven random pictures"),
    ):
        ones = torch.ones(len(samples), 1, dtype=torch.float64)
        best = torch.linalg.lstsq(ones, samples.double().flatten(1)).solution
        cases.append(Case((samples.contiguous(),), best.view(samples.shape[1:]).float(), words))
    return cases


@exercise(
    cases=_guess_cases,
    mistakes=[
        Mistake(
            lambda s: s.median(0).values,
            "this is the median, which is best under L1. Set the derivative of Σ‖x − a‖² to 0.",
        ),
        Mistake(lambda s: s.sum(0), "divide by the number of pictures: this is their sum."),
        Mistake(lambda s: s[0], "one of the pictures is not the best guess: it must be near all of them."),
        Mistake(
            lambda s: (s.amin(0) + s.amax(0)) / 2,
            "the middle between the extremes is best for the *largest* distance, not for the mean squared one.",
        ),
        Mistake(
            lambda s: s.mean().expand(s.shape[1:]),
            "this is one grey for the whole picture: each pixel has a best guess of its own, so average over "
            "the first axis only.",
        ),
        Mistake(
            lambda s: s.square().mean(0).sqrt(),
            "no squares in the answer: the derivative takes them away.",
        ),
    ],
    hint="which a makes Σ (xᵢ − a)² smallest? Differentiate by a, pixel by pixel.",
    on_cpu=(),
)
def best_guess(samples: Tensor) -> Tensor:
    """samples (N, 3, H, W) → the a (3, H, W) that minimises the mean over N of ‖samples[i] − a‖²."""
    return samples.mean(0)


def _weigh(squares: Tensor, w: Tensor) -> Tensor:
    return (squares * w.view(1, -1, 1, 1)).sum(1).mean((1, 2))


def _unit(f: Tensor, dim: int | tuple[int, ...] = 1) -> Tensor:
    return f / (f.square().sum(dim, keepdim=True).sqrt() + 1e-10)


def _features() -> tuple[Tensor, Tensor]:
    return noise(2, 5, 3, 4, seed=1).relu() + 0.01, noise(2, 5, 3, 4, seed=2).relu() + 0.01


def _layer_cases() -> list[Case]:
    """Against the `lpips` package's own normalisation and spatial mean."""
    import lpips

    small = torch.tensor([3.0, 4.0])[None, :, None, None], torch.tensor([4.0, 3.0])[None, :, None, None]
    wide = _features()
    cases = []
    for (f, g), w, words in (
        (small, torch.ones(2), "for the channel vectors (3, 4) and (4, 3), weights 1"),
        (wide, torch.ones(5), "for random features, weights 1"),
        (wide, torch.tensor([0.5, 0.0, 2.0, 1.0, 3.0]), "for random features, weights 0.5, 0, 2, 1, 3"),
    ):
        squares = (lpips.normalize_tensor(f) - lpips.normalize_tensor(g)) ** 2
        own = lpips.spatial_average(squares * w.view(1, -1, 1, 1), keepdim=False).sum(1)
        cases.append(Case((f, g, w), own, words))
    return cases


def _check_silent_place(attempt: Attempt) -> None:
    """Where a ReLU has silenced all channels, the vector is 0 and has no direction."""
    f, g = _features()
    f[:, :, 0, 0] = 0
    case = Case((f, g, torch.ones(5)), torch.zeros(2), "where all channels of a place are 0")
    if bool(as_tensor(attempt(*case.inputs), case).isnan().any()):
        raise Wrong(
            f"{case.words}: the answer is NaN",
            "0 / 0: add a small number, 1e-10, to the norm (`F.normalize` does something like it).",
        )


@exercise(
    cases=_layer_cases,
    mistakes=[
        Mistake(
            lambda f, g, w: _weigh((f - g) ** 2, w),
            "the features were not brought to unit length: divide each place's channel vector by its norm.",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f, (2, 3)) - _unit(g, (2, 3))) ** 2, w),
            "the norm was taken over places. It goes over channels (dim=1): each place has a vector of its own.",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f, (1, 2, 3)) - _unit(g, (1, 2, 3))) ** 2, w),
            "one norm for the whole layer. Each place has a channel vector of its own: norm over dim=1 only.",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f) - _unit(g)).abs(), w),
            "the differences are squared, not made positive.",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f) - _unit(g)) ** 2, torch.ones_like(w)),
            "the channel weights w are missing: multiply the squared differences by w[None, :, None, None].",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f) - _unit(g)) ** 2, w**2),
            "w multiplies the squared difference, as in LPIPS' code; here it was squared too. (The paper's equation 1 has w "
            "inside the square: that w is the root of this one.)",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f) - _unit(g)) ** 2, w) * f.shape[2] * f.shape[3],
            "sum over channels, but *mean* over places: a larger picture is not a farther one.",
        ),
        Mistake(
            lambda f, g, w: _weigh((_unit(f) - _unit(g)) ** 2, w) / f.shape[1],
            "mean over places, but *sum* over channels.",
        ),
        Mistake(
            lambda f, g, w: (_unit(f) - _unit(g)).square().mul(w.view(1, -1, 1, 1)).sum(1).sqrt().mean((1, 2)),
            "no square root: LPIPS averages squared lengths.",
        ),
    ],
    hint="unit length over dim=1, difference, square, times w, sum over dim=1, mean over the last two.",
    after=_check_silent_place,
    on_error={
        "must match the size": "w has one entry per channel: w[None, :, None, None] lines it up with (B, C, H, W)."
    },
    on_cpu=(),
)
def layer_distance(f: Tensor, g: Tensor, w: Tensor) -> Tensor:
    """Features f, g (B, C, H, W) of two pictures and channel weights w (C,) ≥ 0 → one layer's part of LPIPS, (B,).

    Zhang et al. 2018, equation 1.
    """
    difference = (F.normalize(f, dim=1, eps=1e-10) - F.normalize(g, dim=1, eps=1e-10)) ** 2
    return _weigh(difference, w)


def _scores() -> list[tuple[Tensor, Tensor, str]]:
    told = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    return [
        (*told, "for real scores 2 and 0.5, fake scores −3 and 0"),
        (2 * noise(2, 1, 3, 3, seed=3), 2 * noise(2, 1, 3, 3, seed=4), "for random scores"),
    ]


def _library_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Torch's hinge_embedding_loss for label −1 is max(0, 1 − score)."""
    away = -torch.ones_like(real)
    return F.hinge_embedding_loss(real, away) + F.hinge_embedding_loss(-fake, away)


@exercise(
    cases=lambda: [Case((r, f), _library_hinge(r, f), words) for r, f, words in _scores()],
    mistakes=[
        Mistake(
            lambda r, f: hinge_critic.course(f, r),
            "real and fake are swapped: real scores are pushed above +1, fake ones below −1.",
        ),
        Mistake(
            lambda r, f: (1 - r).mean() + (1 + f).mean(),
            "the hinge is missing: beyond the margin there is nothing more to gain, so F.relu cuts off at 0.",
        ),
        Mistake(
            lambda r, f: F.relu(-r).mean() + F.relu(f).mean(),
            "the margin is missing: scores must pass +1 and −1, not 0.",
        ),
        Mistake(
            lambda r, f: F.relu(1 - r).mean() + F.relu(1 - f).mean(),
            "the sign at the fake scores: those must fall *below* −1, so what is left to do is 1 + fake.",
        ),
        Mistake(
            lambda r, f: hinge_critic.course(r, f) / 2,
            "some codebases halve it. Here both sides are added, so that a critic that knows nothing pays 2.",
        ),
        Mistake(
            lambda r, f: F.relu(1 - r).sum() + F.relu(1 + f).sum(),
            "mean over patches, not sum: the loss must not grow with the picture.",
        ),
        Mistake(
            lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(),
            "this is the logistic loss of the first GAN. The hinge is flat beyond its margin.",
        ),
        Mistake(
            lambda r, f: F.relu(1 - r.mean()) + F.relu(1 + f.mean()),
            "hinge first, then mean: each patch has to pass the margin on its own.",
        ),
    ],
    hint="for a real patch max(0, 1 − score), for a fake one max(0, 1 + score); the two means added.",
    learned=("real", "fake"),
    on_cpu=(),
)
def hinge_critic(real: Tensor, fake: Tensor) -> Tensor:
    """Scores of real and of fake patches, any shapes → the critic's hinge loss, a scalar (mean over patches).

    Lim and Ye 2017.
    """
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def _decoder_cases() -> list[Case]:
    """The mean score with its sign turned, by hand for the last case."""
    cases = [Case((f,), -f.double().mean(), words.split(", fake")[0]) for _, f, words in _scores()]
    return [*cases, Case((torch.tensor([-3.0, 0.0]),), torch.tensor(1.5), "for fake scores −3 and 0")]


@exercise(
    cases=_decoder_cases,
    mistakes=[
        Mistake(
            lambda f: f.mean(),
            "the sign: the decoder wants *high* scores for its pictures, and a loss is made small.",
        ),
        Mistake(
            lambda f: F.relu(1 - f).mean(),
            "no hinge on this side: the decoder gains by every bit of score, however high it already is.",
        ),
        Mistake(lambda f: F.relu(1 + f).mean(), "this is the critic's side: it pushes fake scores *down*."),
        Mistake(lambda f: -f.sum(), "mean over patches, not sum."),
        Mistake(
            lambda f: F.softplus(-f).mean(),
            "this is the logistic loss of the first GAN. The hinge version is linear.",
        ),
        Mistake(lambda f: -F.relu(f).mean(), "no relu: a low score must still be felt, and pulled up."),
    ],
    hint="the mean score of the fake patches, with the sign that makes high scores a small loss.",
    learned=("fake",),
    on_cpu=(),
)
def hinge_decoder(fake: Tensor) -> Tensor:
    """Scores of fake patches, any shape → the decoder's loss, a scalar (mean over patches)."""
    return -fake.mean()


def _weight_cases() -> list[Case]:
    """The expected ratio is taken in float64 by NumPy's vector norm."""
    cases = []
    for r, a, words in (
        (torch.tensor([3.0, 4.0]), torch.tensor([0.0, 2.0]), "for gradients (3, 4) and (0, 2)"),
        (0.2 * noise(4, 3, 3, 3, seed=5), 5 * noise(4, 3, 3, 3, seed=6), "for random gradients"),
    ):
        ratio = np.linalg.norm(r.double().flatten()) / (np.linalg.norm(a.double().flatten()) + 1e-6)
        cases.append(Case((r, a), torch.tensor(ratio), words))
    return cases


def _check_silent_critic(attempt: Attempt) -> None:
    case = Case((torch.tensor([3.0, 4.0]), torch.zeros(2)), torch.tensor(5e6), "for gradients (3, 4) and (0, 0)")
    answer = as_tensor(attempt(*case.inputs), case)
    if not bool(answer.isfinite()):
        raise Wrong(
            f"{case.words}: the answer is {float(answer)}",
            "a critic that says nothing has gradient 0: add 1e-6 to its norm, and λ stays a number.",
        )


@exercise(
    cases=_weight_cases,
    mistakes=[
        Mistake(
            lambda r, a: a.norm() / (r.norm() + 1e-6),
            "upside down: a critic that pulls hard must get a *small* weight.",
        ),
        Mistake(
            lambda r, a: (r.norm() / (a.norm() + 1e-6)) ** 2,
            "these are squared norms: take the root, so that λ · grad_adv is as long as grad_rec.",
        ),
        Mistake(
            lambda r, a: r.abs().sum() / (a.abs().sum() + 1e-6),
            "sums of absolute values: the length of a gradient is the root of its sum of squares.",
        ),
        Mistake(
            lambda r, a: r.abs().max() / (a.abs().max() + 1e-6),
            "largest entries: the length of a gradient is the root of its sum of squares.",
        ),
        Mistake(
            lambda r, a: r.mean() / (a.mean() + 1e-6),
            "means of entries cancel each other: take norms.",
        ),
        Mistake(
            lambda r, a: r.norm() * a.norm(),
            "a product: λ must make λ · ‖grad_adv‖ equal to ‖grad_rec‖. Solve that for λ.",
        ),
    ],
    hint="λ · ‖grad_adv‖ = ‖grad_rec‖, with 1e-6 beside the norm below the line.",
    after=_check_silent_critic,
    returns=FACTOR,
    on_cpu=(),
)
def adaptive_weight(grad_rec: Tensor, grad_adv: Tensor) -> Tensor:
    """Two gradients by the same weight, of equal shape → the adversarial loss's weight λ ≥ 0, a scalar.

    Esser et al. 2021, equation 7.
    """
    return grad_rec.norm() / (grad_adv.norm() + 1e-6)
