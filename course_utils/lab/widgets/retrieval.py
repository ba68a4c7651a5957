"""The retrieval explorer: type a sentence, see the nearest pictures; pick a picture, read the nearest sentences.

`RetrievalCore` works without widgets. It embeds a collection of pictures with their captions once; then a search
is one product of a vector with a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from course_utils.datasets.captions import unknown_words
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest
from course_utils.models.clip import CLIP

FOUND = 8


@dataclass(frozen=True)
class Query:
    """What is looked for: with a `sentence`, or with the picture at `index` where that is None."""

    sentence: str | None
    index: int = 0

    @property
    def label(self) -> str:
        """What is looked for, in words."""
        if self.sentence is None:
            return f"sentences for picture {self.index}"
        return f"pictures for “{self.sentence}”"


@dataclass(frozen=True)
class Found:
    """What is nearest, best first: `index` (k,) into the collection, `cosine` (k,), and what was not understood.

    `sentences`: the captions found, empty when pictures were. `unknown`: words that no caption of the data contains.
    """

    query: Query
    index: tuple[int, ...]
    cosine: tuple[float, ...]
    sentences: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class RetrievalCore:
    """A collection: `pictures` (N, 3, 64, 64) in [-1, 1] with N `captions`, embedded by `clip`."""

    def __init__(self, clip: CLIP, pictures: Tensor, captions: Sequence[str]):
        if len(check_pictures(pictures, "pictures")) != len(captions) or not len(captions):
            raise ValueError(f"captions: expected {len(pictures)}, one for each picture, got {len(captions)}")
        self.clip, self.pictures, self.captions = clip, pictures.cpu(), list(captions)
        device = clip.logit_scale.device
        with torch.inference_mode():
            self.image_emb = torch.cat([clip.encode_image(x.to(device)).cpu() for x in pictures.split(128)])
            self.sentences = list(dict.fromkeys(self.captions))  # a sentence that two pictures share is one
            self.text_emb = torch.cat(
                [clip.encode_text(self.sentences[i : i + 512]).cpu() for i in range(0, len(self.sentences), 512)]
            )  # fmt: skip

    @torch.inference_mode()
    def embed(self, sentence: str) -> Tensor:
        """The unit vector of a sentence, (D,). An empty one, or one that the context cannot hold, is a ValueError."""
        if not sentence.strip():
            raise ValueError("sentence: got nothing; type what you look for")
        return self.clip.encode_text([sentence])[0].cpu()

    def pictures_for(self, sentence: str, k: int = FOUND) -> Found:
        """The k pictures whose vectors are nearest to the sentence's."""
        best = (self.image_emb @ self.embed(sentence)).topk(self._at_most(k, len(self.captions)))
        return Found(
            Query(sentence),
            tuple(best.indices.tolist()),
            tuple(best.values.tolist()),
            unknown=tuple(unknown_words(sentence)),
        )

    def sentences_for(self, index: int, k: int = FOUND) -> Found:
        """The k sentences whose vectors are nearest to picture `index`'s."""
        if not isinstance(index, int) or not 0 <= index < len(self.captions):
            raise ValueError(f"index: got {index!r}; expected 0 to {len(self.captions) - 1}")
        best = (self.text_emb @ self.image_emb[index]).topk(self._at_most(k, len(self.sentences)))
        return Found(
            Query(None, index),
            tuple(best.indices.tolist()),
            tuple(best.values.tolist()),
            tuple(self.sentences[i] for i in best.indices.tolist()),
        )

    def like(self, vector: Tensor, k: int = FOUND) -> tuple[int, ...]:
        """The k pictures nearest to any vector (D,), such as one picture's minus a word's plus another's."""
        if vector.shape != self.image_emb.shape[1:]:
            raise ValueError(f"vector: expected ({self.image_emb.shape[1]},), got shape {tuple(vector.shape)}")
        best = (self.image_emb @ F.normalize(vector.cpu(), dim=0)).topk(self._at_most(k, len(self.captions)))
        return tuple(best.indices.tolist())

    def _at_most(self, k: int, there: int) -> int:
        if k < 1:
            raise ValueError(f"k: got {k}; expected 1 or more")
        return min(k, there)

    def picture(self, found: Found, scale: float | None = None) -> Image.Image:
        """Pictures found, with their cosines below; for sentences found, the picture that asked."""
        if found.query.sentence is None:
            return plots.tile(self.pictures[found.query.index], scale=scale or 2)
        return plots.tile(
            self.pictures[list(found.index)],
            [f"{c:.2f}" for c in found.cosine],
            columns=FOUND,
            scale=scale or 1.5,
        )

    def overview(self, sentences: Sequence[str], k: int = FOUND) -> Image.Image:
        """The nearest pictures of several sentences, a row each: a still picture of the widget."""
        found = [self.pictures_for(sentence, k) for sentence in sentences]
        tiles = torch.cat([self.pictures[list(f.index)] for f in found])
        cosines = [f"{c:.2f}" for f in found for c in f.cosine]
        return plots.tile(tiles, cosines, columns=len(found[0].index), scale=1, row_labels=list(sentences))


class RetrievalExplorer:
    """The widget: a line for a sentence, a number for a picture; below them what is nearest.

    `RetrievalExplorer(clip, pictures, captions)`; in a notebook, the last line shows it. What was typed or chosen
    last is what is looked for.
    """

    def __init__(self, clip: CLIP, pictures: Tensor, captions: Sequence[str], sentence: str = "a brown bear"):
        self.core = RetrievalCore(clip, pictures, captions)
        self.shown: Found | None = None
        self._worker = Latest(self._work)
        self._asked_for = Query(sentence)
        self._build(sentence)

    def _build(self, sentence: str) -> None:
        import ipywidgets as w

        style = {"description_width": "76px"}
        self.sentence = w.Text(
            sentence, description="sentence", style=style, continuous_update=True, layout=w.Layout(width="640px")
        )  # fmt: skip
        self.index = w.BoundedIntText(
            0, min=0, max=len(self.core.captions) - 1, description="or picture", style=style,
            layout=w.Layout(width="190px"),
        )  # fmt: skip
        self.label, self.image, self.text = w.HTML(), w.Image(format="jpeg"), w.HTML()
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start")
        self.image.layout.display = "none"  # until there is a picture: an empty one shows as broken
        controls = w.HBox([self.sentence, self.index])
        self.box = w.VBox([controls, self.label, self.image, self.text])
        self.box.add_class("retrieval-explorer")
        self.label.add_class("retrieval-label")
        self.image.add_class("retrieval-pictures")
        self.text.add_class("retrieval-sentences")
        self.sentence.observe(lambda _: self._ask(Query(self.sentence.value)), "value")
        self.index.observe(lambda _: self._ask(Query(None, self.index.value)), "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to search. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "Retrieval explorer: run this cell in a notebook to search",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    def refresh(self) -> None:
        """Look for what was asked last."""
        self._worker.submit(self._asked_for)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self, sentences: Sequence[str], k: int = FOUND):
        """The same as a picture that a notebook keeps: an `IPython.display.Image` with a row for each sentence."""
        from IPython.display import Image as Shown

        return Shown(plots.to_jpeg(self.core.overview(sentences, k)))

    def _ask(self, query: Query) -> None:
        self._asked_for = query
        self.label.value = f"<i>looking for {escape(query.label)} …</i>"
        self.refresh()

    def _work(self, query: Query) -> None:
        try:
            if query.sentence is None:
                found = self.core.sentences_for(query.index)
            else:
                found = self.core.pictures_for(query.sentence)
        except ValueError as error:  # an empty or an overlong sentence, said in the model's own words
            self.label.value = f'<span style="color:#b00020">{escape(str(error))}</span>'
            return
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            kind = type(error).__name__
            self.label.value = f'<span style="color:#b00020">{kind}: {escape(str(error))}</span>'
            return
        self.image.value, self.image.layout.display = plots.to_jpeg(self.core.picture(found)), "block"
        self.text.value = _lines(found, self.core.captions)
        self.shown = found
        self.label.value = f"<b>{escape(query.label)}</b>"


def _lines(found: Found, captions: Sequence[str]) -> str:
    """What stands below the pictures: unknown words, or the sentences found with their cosines."""
    if found.query.sentence is not None:
        if not found.unknown:
            return ""
        words = ", ".join(escape(word) for word in found.unknown)
        return f"No caption of the data set contains: {words}. The answer to these words is a guess."
    own = escape(captions[found.query.index])
    rows = "".join(
        f"<li>{c:.2f} {'<b>' + escape(s) + '</b>' if s == captions[found.query.index] else escape(s)}</li>"
        for s, c in zip(found.sentences, found.cosine, strict=True)
    )
    return f"its own caption: <b>{own}</b><ol>{rows}</ol>"
