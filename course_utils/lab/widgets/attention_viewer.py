"""The attention viewer: choose layer, head and token, and see what that token takes from the others."""

from __future__ import annotations

import ipywidgets as w
from IPython.display import Image
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.attention_viewer_core import (
    ALL_HEADS,
    ALL_LAYERS,
    AttentionCore,
    AttentionRequest,
    AttentionResult,
    overview,
)
from course_utils.lab.widgets.base import LiveWidget, choice, hidden_image, look, reveal
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import ViT


class AttentionViewer(LiveWidget):
    """The widget: text or picture, layer, head and token. The arrow keys move the token slider, too."""

    fallback = "Attention viewer: run this cell in a notebook to choose layer, head and token"

    def __init__(
        self,
        text: TextTransformer,
        tokenizer: Tokenizer,
        vit: ViT,
        pictures: Tensor,
        sentence: str = "a brown bear with a red hat on a striped sky background",
    ):
        super().__init__(AttentionCore(text, tokenizer, vit, pictures))
        self.kind = choice(["text", "picture"], "text", "look at", described=80)
        self.sentence = w.Text(sentence, description="sentence", continuous_update=False, **look(640, 80))
        self.picture = w.BoundedIntText(0, min=0, max=len(pictures) - 1, description="picture", **look(210, 80))
        self.layer = w.Dropdown(description="layer", **look(210, 80))
        self.head = w.Dropdown(description="head", **look(210, 80))
        self.token = w.IntSlider(0, min=0, max=1, description="token", **look(440, 80))
        self.status.add_class("attention-label")
        self.image = hidden_image("png").add_class("attention-picture")
        self.children = [
            w.HBox([self.kind, self.layer, self.head]),
            w.HBox([self.sentence, self.picture]),
            self.token,
            self.status,
            self.image,
        ]
        self.add_class("attention-viewer")
        self._fit()
        self.follow(self.kind, self.sentence, self.picture, self.layer, self.head, self.token)

    @property
    def request(self) -> AttentionRequest:
        """What the controls say now."""
        return AttentionRequest(
            self.kind.value,
            self.sentence.value,
            self.picture.value,
            self.layer.value,
            self.head.value,
            self.token.value,
        )

    def asked(self, change: dict) -> None:
        if change["owner"] is self.kind:
            self._fit()
        elif change["owner"] is self.sentence:
            with self.syncing():
                self._fit_token()
        self.refresh()

    def _fit(self) -> None:
        """Let layers, heads and the token slider fit what is looked at; start at the last word, or at the class token."""
        kind = self.kind.value
        layers, heads = self.core.layers(kind), self.core.heads(kind)
        with self.syncing():
            self.layer.options = [*((str(i), i) for i in range(1, layers + 1)), ("all (rollout)", ALL_LAYERS)]
            self.head.options = [("mean", ALL_HEADS), *((str(i), i) for i in range(1, heads + 1))]
            self.layer.value, self.head.value = layers, ALL_HEADS
            self.sentence.disabled, self.picture.disabled = kind != "text", kind == "text"
            self._fit_token()
            self.token.value = self.token.max if kind == "text" else 0

    def _fit_token(self) -> None:
        try:
            self.token.max = len(self.core.maps(self.request)[1]) - 1
        except ValueError:  # too long a sentence: said by the worker
            return

    def busy(self, request: AttentionRequest) -> str:
        return ""

    def show(self, result: AttentionResult) -> None:
        reveal(self.image, result.encoded)
        self.say(bold=result.label)

    def static(self, *requests: AttentionRequest) -> Image:
        """The same thing as a picture that a notebook keeps, one request below another."""
        results = [self.core.compute(request) for request in requests or (self.request,)]
        return Image(plots.to_png(overview(results)), alt="; ".join(result.label for result in results))
