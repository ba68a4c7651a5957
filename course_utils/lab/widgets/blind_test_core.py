"""A blind test without widgets: two pictures, one of them real. Which one?

The other is a decoder's reconstruction of the same picture, shown without its name. Whoever is right half of the
time cannot tell them apart: a two-alternative forced choice, the way in which image codecs and generators are
compared with people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop

SIDES = ("left", "right")
SCALE = 3  # screen pixels for one of a picture's


@dataclass(frozen=True)
class BlindTestRequest:
    """Which question to show, counted from 0."""

    number: int


@dataclass(frozen=True)
class BlindTestResult:
    """What the one who answers may see: PNG bytes of the left and the right picture."""

    request: BlindTestRequest
    encoded: tuple[bytes, bytes]


@dataclass(frozen=True)
class Question:
    """Two pictures (3, H, W) and what the one who answers must not see: which is real, and whose the other is."""

    left: Tensor
    right: Tensor
    real: str
    decoder: str
    picture: int

    def encoded(self) -> tuple[bytes, bytes]:
        """Both pictures as PNG bytes: lossless, so that the encoding gives nothing away."""
        return plots.to_png(self.left, scale=SCALE), plots.to_png(self.right, scale=SCALE)


@dataclass
class Score:
    """Right answers out of those given, by decoder."""

    right: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)

    def add(self, decoder: str, right: bool) -> None:
        self.right[decoder] = self.right.get(decoder, 0) + right
        self.asked[decoder] = self.asked.get(decoder, 0) + 1

    def share(self, decoder: str) -> float:
        """How often the real picture was found: 0.5 is guessing. NaN before the first question."""
        asked = self.asked.get(decoder, 0)
        return self.right[decoder] / asked if asked else float("nan")


class BlindTest:
    """The test without a widget: question after question, the same ones for the same seed.

    `real` (N, 3, H, W) and, by decoder, equally many reconstructions of the same pictures. Decoders take turns in an
    order that is drawn anew in each round, so that they are asked about equally often.
    """

    def __init__(self, real: Tensor, reconstructions: Mapping[str, Tensor], seed: int = 0):
        if not reconstructions:
            raise ValueError("reconstructions: got none; expected one decoder or more")
        for name, x in reconstructions.items():
            if x.shape != real.shape:
                raise ValueError(
                    f"reconstructions: {name!r} has shape {tuple(x.shape)}; expected real's, {tuple(real.shape)}"
                )
        self.real = real.detach().cpu()
        # What is shown is shown in the same range: no decoder gives itself away by a value of 1.1.
        self.reconstructions = {k: v.detach().cpu().clamp(-1, 1) for k, v in reconstructions.items()}
        self.seed = seed
        self.score = Score()
        self.number = 0

    def question(self, number: int | None = None) -> Question:
        """Question `number`, by default the one that waits for an answer."""
        number = self.number if number is None else number
        names = list(self.reconstructions)
        turn, place = divmod(number, len(names))
        g = torch.Generator().manual_seed(1_000_003 * self.seed + turn)
        decoder = names[int(torch.randperm(len(names), generator=g)[place])]
        picture = int(torch.randperm(len(self.real), generator=g)[place % len(self.real)])  # none twice in a round
        left_is_real = bool(torch.rand(len(names), generator=g)[place] < 0.5)
        pair = self.real[picture], self.reconstructions[decoder][picture]
        left, right = pair if left_is_real else pair[::-1]
        return Question(left, right, SIDES[0] if left_is_real else SIDES[1], decoder, picture)

    def compute(self, request: BlindTestRequest, should_stop: ShouldStop = None) -> BlindTestResult:
        """A question's pictures. Quick, so `should_stop` is not asked."""
        return BlindTestResult(request, self.question(request.number).encoded())

    def answer(self, side: str) -> tuple[bool, Question]:
        """Say which side is real; returns whether that is right, and the question. The next one then waits."""
        if side not in SIDES:
            raise ValueError(f"side: got {side!r}; expected 'left' or 'right'")
        asked = self.question()
        right = side == asked.real
        self.score.add(asked.decoder, right)
        self.number += 1
        return right, asked

    def play(self, choose: Callable[[Tensor, Tensor], str], questions: int) -> Score:
        """Let a rule answer: `choose(left, right)` → 'left' or 'right'. Counts apart from `score`."""
        score = Score()
        for number in range(questions):
            asked = self.question(number)
            score.add(asked.decoder, choose(asked.left, asked.right) == asked.real)
        return score

    def still(self, pairs: int = 4):
        """The first pairs as one picture for a saved notebook, with the answers under it: an Image.

        Each decoder's pair is there before a second one of any.
        """
        asked = [self.question(i) for i in range(pairs)]
        rows = torch.stack([torch.stack([q.left, q.right]) for q in asked])  # (pairs, 2, 3, H, W)
        texts = []
        for q in asked:
            pair = ["real", f"decoder {q.decoder}"]
            texts += pair if q.real == "left" else pair[::-1]
        return plots.tile(rows.flatten(0, 1), captions=texts, columns=4, scale=2)
