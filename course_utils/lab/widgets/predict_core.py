"""A prediction without widgets: a question with a few answers, of which one is chosen, once.

What depends on the choice and what does not are kept apart: `PredictionCore.told` is the same for everybody, so that it
may stand in a saved notebook, while `verdict` is about this one reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from course_utils.arguments import line, short, whole
from course_utils.lab.widgets.latest import ShouldStop

FEWEST, MOST = 2, 5  # answers


@dataclass(frozen=True)
class PredictionRequest:
    """Which answer was chosen, counted from 0; None before anybody has."""

    chosen: int | None = None

    @property
    def label(self) -> str:
        """What is shown, in one line."""
        return "a prediction" if self.chosen is None else f"prediction {self.chosen + 1}"


@dataclass(frozen=True)
class PredictionResult:
    """What is said below the question (`said`), and below the figure (`mark`, then `verdict`).

    `mark` is "✓", "✗", or "" as long as there is nothing to judge; `verdict` is "" before the figure.
    """

    request: PredictionRequest
    said: str
    mark: str
    verdict: str


class PredictionCore:
    """A question and two to five answers. The first choice counts; which one is right is said later, by `reveal`."""

    def __init__(self, question: str, answers: Sequence[str]):
        self.question = line("question", question)
        if isinstance(answers, str) or not FEWEST <= len(answers) <= MOST:
            raise ValueError(f"answers: got {short(answers)}; expected a list of {FEWEST} to {MOST} texts")
        self.answers = [line("answers", answer) for answer in answers]
        if len(set(self.answers)) < len(self.answers):
            raise ValueError(f"answers: got {short(answers)}; expected each of them once")
        self.chosen: int | None = None
        self.right: int | None = None
        self.why = ""

    def choose(self, number: int) -> bool:
        """Commit to answer `number`, counted from 0; whether it counts: only the first choice does."""
        number = whole("number", number, 0, len(self.answers) - 1)
        if self.chosen is not None:
            return False
        self.chosen = number
        return True

    def reveal(self, right: str, why: str) -> None:
        """Say which of the answers is right, word for word, and why, in a sentence."""
        if right not in self.answers:
            raise ValueError(f"right: got {short(right)}; expected one of the answers, {self.answers}")
        self.why = line("why", why)
        self.right = self.answers.index(right)

    @property
    def asked(self) -> str:
        """The question with its answers, as plain text for where no button can be shown."""
        lines = [f"  {letter}  {answer}" for letter, answer in zip("ABCDE", self.answers, strict=False)]
        return "\n".join([f"Your prediction: {self.question}", *lines])

    @property
    def told(self) -> str:
        """The right answer and why, as plain text: the same whatever was chosen, and empty before `reveal`."""
        return "" if self.right is None else f"The answer: {self.answers[self.right]}. {self.why}"

    def compute(self, request: PredictionRequest, should_stop: ShouldStop = None) -> PredictionResult:
        """What to say to a reader who has chosen so. Quick, so `should_stop` is not asked."""
        chosen = None if request.chosen is None else self.answers[request.chosen]
        said = "" if chosen is None else f"You said: {chosen}"
        if self.right is None:
            return PredictionResult(request, said, "", "")
        if chosen is None:
            return PredictionResult(request, said, "", self.told)
        if request.chosen == self.right:
            return PredictionResult(request, said, "✓", f"You said: {chosen}. That is right. {self.why}")
        return PredictionResult(request, said, "✗", f"You said: {chosen}. {self.told}")
