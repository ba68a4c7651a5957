"""The tokenizer playground without widgets: a text in; the tokens of both tokenizers, drawn as coloured boxes, out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from course_utils.arguments import text as checked_text
from course_utils.external.clip_bpe import ClipBPE
from course_utils.lab import plots
from course_utils.lab.widgets.drawing import token_rows
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.models.tokenizer import Tokenizer, normalise

LONGEST = 2000  # characters that the widget looks at


@dataclass(frozen=True)
class TokenizerRequest:
    """The text to cut."""

    text: str


@dataclass(frozen=True)
class TokenizerResult:
    """What two tokenizers make of a text: symbols and ids by tokenizer, PNG bytes, and what there is to say."""

    request: TokenizerRequest
    tokens: dict[str, list[str]]
    ids: dict[str, list[int]]
    encoded: bytes
    label: str
    notes: tuple[str, ...]


class PlaygroundCore:
    """The course's tokenizer beside CLIP's. The course's reads a text as its models do, `normalise`d."""

    def __init__(self, own: Tokenizer, clip: ClipBPE | None = None):
        self.own, self.clip = own, clip or ClipBPE()
        self.names = f"course, {own.vocab_size:,} ids", f"CLIP, {self.clip.vocab_size:,} ids"

    def compute(self, request: TokenizerRequest, should_stop: ShouldStop = None) -> TokenizerResult:
        """Tokens of a text of up to 2,000 characters. Quick, so `should_stop` is not asked."""
        text = request.text
        if not isinstance(text, str) or len(text) > LONGEST:
            came = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
            raise ValueError(f"text: got {came}; expected a string of up to {LONGEST}")
        said = normalise(checked_text("text", text))
        ids = dict(zip(self.names, (self.own.encode(said), self.clip.encode(text)), strict=True))
        tokens = dict(zip(self.names, (self.own.tokens(said), self.clip.tokens(text)), strict=True))
        encoded = plots.to_png(token_rows(tokens, ids))
        counts = " · ".join(f"{len(t)} tokens ({name.split(',')[0]})" for name, t in tokens.items())
        label = f"{len(text)} characters, {len(text.encode())} bytes → {counts}"
        return TokenizerResult(request, tokens, ids, encoded, label, self._notes(text, len(ids[self.names[0]])))

    def _notes(self, text: str, own: int) -> tuple[str, ...]:
        notes, room = [], self.own.context_length - 2
        if own > room:
            notes.append(f"too long for the course's models: {own} tokens, and {room} fit. They refuse it.")
        if dropped := self.clip.dropped(text):
            notes.append(f"too long for CLIP: it drops the last {dropped} tokens without saying so.")
        return tuple(notes)

    def overview(self, texts: Sequence[str]) -> Image.Image:
        """The boxes of several texts, one below another."""
        rows, ids = {}, {}
        for i, text in enumerate(texts):
            result = self.compute(TokenizerRequest(text))
            for name, tokens in result.tokens.items():
                label = name.split(",")[0] + " " * i  # a key of its own for each text
                rows[label], ids[label] = tokens, result.ids[name]
        return token_rows(rows, ids)
