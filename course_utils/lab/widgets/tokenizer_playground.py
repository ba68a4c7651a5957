"""The tokenizer playground: type a text, and see how two tokenizers cut it."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image

from course_utils.external.clip_bpe import ClipBPE
from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.drawing import TOKEN_WIDTH
from course_utils.lab.widgets.tokenizer_playground_core import PlaygroundCore, TokenizerRequest, TokenizerResult
from course_utils.models.tokenizer import Tokenizer


class TokenizerPlayground(LiveWidget):
    """The widget: a line to type in, and both tokenizers' boxes, which follow each key."""

    fallback = "Tokenizer playground: run this cell in a notebook to type a text"

    def __init__(
        self, own: Tokenizer, clip: ClipBPE | None = None, text: str = "A fluffy brown bear, wearing a red hat"
    ):
        super().__init__(PlaygroundCore(own, clip))
        self.text = w.Text(text, description="text", **look(TOKEN_WIDTH, 80))
        self.status.add_class("playground-label")
        self.image = hidden_image("png").add_class("playground-tokens")
        self.notes = w.HTML().add_class("playground-notes")
        self.children = [self.text, self.status, self.image, self.notes]
        self.add_class("playground")
        self.follow(self.text)

    @property
    def request(self) -> TokenizerRequest:
        """What the line says now."""
        return TokenizerRequest(self.text.value)

    def busy(self, request: TokenizerRequest) -> str:
        return ""

    def show(self, result: TokenizerResult) -> None:
        reveal(self.image, result.encoded)
        self.notes.value = "<br>".join(html(note) for note in result.notes)
        self.say(bold=result.label)

    def static(self, *texts: str) -> Image:
        """The same thing as a picture that a notebook keeps, the texts one below another."""
        texts = texts or (self.text.value,)
        said = "; ".join(f"“{text}”: {self.core.compute(TokenizerRequest(text)).label}" for text in texts)
        return Image(plots.to_png(self.core.overview(texts)), alt=said)
