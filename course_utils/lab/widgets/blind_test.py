"""A blind test: two pictures, one of them real. Which one?

The other is a decoder's reconstruction of the same picture, shown without its name. Whoever is right half of the
time cannot tell them apart: a two-alternative forced choice, the way in which image codecs and generators are
compared with people. `BlindTest` is the test itself, `BlindTestWidget` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape

import torch
from torch import Tensor

from course_utils.lab import plots

SIDES = ("left", "right")
SCALE = 4  # screen pixels for one of a picture's


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
        picture = int(torch.randint(len(self.real), (len(names),), generator=g)[place])
        left_is_real = bool(torch.rand(len(names), generator=g)[place] < 0.5)
        pair = self.real[picture], self.reconstructions[decoder][picture]
        left, right = pair if left_is_real else pair[::-1]
        return Question(left, right, SIDES[0] if left_is_real else SIDES[1], decoder, picture)

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
        texts = [
            t
            for q in asked
            for t in (("real", f"decoder {q.decoder}") if q.real == "left" else (f"decoder {q.decoder}", "real"))
        ]
        return plots.tile(rows.flatten(0, 1), captions=texts, columns=4, scale=3)


class BlindTestWidget:
    """The test for people: two pictures, a button under each, and the score by decoder.

    Every click counts, so answers are handled one after the other, and no worker that drops stale ones is used; a
    question takes a few milliseconds. Tab and Enter answer without a mouse: the buttons keep the focus.
    """

    def __init__(self, real: Tensor, reconstructions: Mapping[str, Tensor], seed: int = 0):
        self.core = BlindTest(real, reconstructions, seed)
        self._build()
        self._ask()

    def _build(self) -> None:
        import ipywidgets as w

        side = f"{SCALE * self.core.real.shape[-1]}px"
        self.images = [w.Image(format="png", layout=w.Layout(width=side, height=side)) for _ in SIDES]
        self.buttons = [w.Button(description=f"the {name} one is real", layout=w.Layout(width=side)) for name in SIDES]
        for button, name in zip(self.buttons, SIDES, strict=True):
            button.on_click(lambda _, name=name: self.choose(name))
        self.status, self.verdict, self.table = w.HTML(), w.HTML(), w.HTML()
        self.images[0].add_class("blind-left")
        self.images[1].add_class("blind-right")
        for widget, name in ((self.status, "status"), (self.verdict, "verdict"), (self.table, "score")):
            widget.add_class(f"blind-{name}")
        columns = [w.VBox([i, b]) for i, b in zip(self.images, self.buttons, strict=True)]
        self.box = w.VBox([self.status, w.HBox(columns), self.verdict, self.table])
        self.box.add_class("blind-test")

    def choose(self, side: str) -> None:
        """Answer the question that is shown, say how that went, and show the next one."""
        right, asked = self.core.answer(side)
        mark, colour = ("✓ right", "#00694B") if right else ("✗ no", "#B33A00")
        self.verdict.value = (
            f'<span style="color:{colour}">{mark}</span>: the {asked.real} one was real, '
            f"the other was made by the decoder <b>{escape(asked.decoder)}</b>."
        )
        self._ask()

    def _ask(self) -> None:
        for widget, encoded in zip(self.images, self.core.question().encoded(), strict=True):
            widget.value = encoded
        score = self.core.score
        cells = "".join(
            f'<td style="padding-right:24px">{escape(name)}<br><b>{score.right.get(name, 0)} of '
            f"{score.asked.get(name, 0)}</b></td>"
            for name in self.core.reconstructions
        )
        self.table.value = f"Real picture found, by decoder (half is guessing):<table><tr>{cells}</tr></table>"
        self.status.value = f"<b>Question {self.core.number + 1}: which one is real?</b>"

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget. The text is for where no widget can be shown."""
        return {
            "text/plain": "blind test: run this cell in a notebook to take it",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip
