"""The retrieval explorer: type a sentence, see the nearest pictures; pick a picture, read the nearest sentences."""

from __future__ import annotations

from collections.abc import Sequence

import ipywidgets as w
from IPython.display import Image
from torch import Tensor

from course_utils.lab import plots
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.retrieval_core import FOUND, RetrievalCore, RetrievalRequest, RetrievalResult
from course_utils.models.clip import CLIP


class RetrievalExplorer(LiveWidget):
    """The widget: a line for a sentence, a number for a picture; below them what is nearest.

    `RetrievalExplorer(clip, pictures, captions)`; in a notebook, the last line shows it. What was typed or chosen
    last is what is looked for.
    """

    fallback = "Retrieval explorer: run this cell in a notebook to search"

    def __init__(self, clip: CLIP, pictures: Tensor, captions: Sequence[str], sentence: str = "a brown bear"):
        super().__init__(RetrievalCore(clip, pictures, captions))
        self._by_picture = False
        self.sentence = w.Text(sentence, description="sentence", continuous_update=True, **look(640))
        self.index = w.BoundedIntText(0, min=0, max=len(captions) - 1, description="or picture", **look(190))
        self.status.add_class("retrieval-label")
        self.image = hidden_image().add_class("retrieval-pictures")
        self.text = w.HTML().add_class("retrieval-sentences")
        self.children = [w.HBox([self.sentence, self.index]), self.status, self.image, self.text]
        self.add_class("retrieval-explorer")
        self.follow(self.sentence, self.index)

    @property
    def request(self) -> RetrievalRequest:
        """What was typed or chosen last."""
        if self._by_picture:
            return RetrievalRequest(None, self.index.value)
        return RetrievalRequest(self.sentence.value)

    def asked(self, change: dict) -> None:
        self._by_picture = change["owner"] is self.index
        self.refresh()

    def busy(self, request: RetrievalRequest) -> str:
        return f"looking for {request.label} …"

    def show(self, result: RetrievalResult) -> None:
        reveal(self.image, plots.to_jpeg(self.core.picture(result)))
        self.text.value = _lines(result, self.core.captions)
        self.say(bold=result.request.label)

    def static(self, sentences: Sequence[str], k: int = FOUND) -> Image:
        """The same as a picture that a notebook keeps, with a row for each sentence."""
        return Image(plots.to_jpeg(self.core.overview(sentences, k)))


def _lines(found: RetrievalResult, captions: Sequence[str]) -> str:
    """What stands below the pictures: unknown words, or the sentences found with their cosines."""
    if found.request.sentence is not None:
        if not found.unknown:
            return ""
        words = ", ".join(html(word) for word in found.unknown)
        return f"No caption of the data set contains: {words}. The answer to these words is a guess."
    own = html(captions[found.request.index])
    rows = "".join(
        f"<li>{c:.2f} {'<b>' + html(s) + '</b>' if s == captions[found.request.index] else html(s)}</li>"
        for s, c in zip(found.sentences, found.cosine, strict=True)
    )
    return f"its own caption: <b>{own}</b><ol>{rows}</ol>"
