"""The retrieval explorer without widgets: the nearest pictures to a sentence, the nearest sentences to a picture.

`RetrievalCore` embeds a collection of pictures with their captions once; then a search is one product of a vector
with a matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from course_utils.datasets.captions import unknown_words
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.models.clip import CLIP

FOUND, SHOWN = 8, 128  # how many are found; pixels of a shown picture's side


@dataclass(frozen=True)
class RetrievalRequest:
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
class RetrievalResult:
    """What is nearest, best first: `index` (k,) into the collection, `cosine` (k,), and what was not understood.

    `sentences`: the captions found, empty when pictures were. `unknown`: words that no caption of the data contains.
    """

    request: RetrievalRequest
    index: tuple[int, ...]
    cosine: tuple[float, ...]
    sentences: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


class RetrievalCore:
    """A collection: `pictures` (N, 3, H, W) in [-1, 1], of a size that CLIP takes, with N `captions`."""

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
            )

    @torch.inference_mode()
    def embed(self, sentence: str) -> Tensor:
        """The unit vector of a sentence, (D,). An empty one, or one that the context cannot hold, is a ValueError."""
        if not sentence.strip():
            raise ValueError("sentence: got nothing; type what you look for")
        return self.clip.encode_text([sentence])[0].cpu()

    def compute(self, request: RetrievalRequest, should_stop: ShouldStop = None) -> RetrievalResult:
        """What is nearest to what is looked for. Quick, so `should_stop` is not asked."""
        if request.sentence is None:
            return self.sentences_for(request.index)
        return self.pictures_for(request.sentence)

    def pictures_for(self, sentence: str, k: int = FOUND) -> RetrievalResult:
        """The k pictures whose vectors are nearest to the sentence's."""
        best = (self.image_emb @ self.embed(sentence)).topk(self._at_most(k, len(self.captions)))
        return RetrievalResult(
            RetrievalRequest(sentence),
            tuple(best.indices.tolist()),
            tuple(best.values.tolist()),
            unknown=tuple(unknown_words(sentence)),
        )

    def sentences_for(self, index: int, k: int = FOUND) -> RetrievalResult:
        """The k sentences whose vectors are nearest to picture `index`'s."""
        if not isinstance(index, int) or not 0 <= index < len(self.captions):
            raise ValueError(f"index: got {index!r}; expected 0 to {len(self.captions) - 1}")
        best = (self.text_emb @ self.image_emb[index]).topk(self._at_most(k, len(self.sentences)))
        return RetrievalResult(
            RetrievalRequest(None, index),
            tuple(best.indices.tolist()),
            tuple(best.values.tolist()),
            tuple(self.sentences[i] for i in best.indices.tolist()),
        )

    def _at_most(self, k: int, there: int) -> int:
        if k < 1:
            raise ValueError(f"k: got {k}; expected 1 or more")
        return min(k, there)

    def picture(self, found: RetrievalResult, scale: float | None = None) -> Image.Image:
        """Pictures found, with their cosines below; for sentences found, the picture that asked."""
        if found.request.sentence is None:
            return plots.tile(self.pictures[found.request.index], scale=scale or self._scale)
        return plots.tile(
            self.pictures[list(found.index)],
            [f"{c:.2f}" for c in found.cosine],
            columns=FOUND,
            scale=scale or self._scale,
        )

    @property
    def _scale(self) -> float:
        return SHOWN / self.pictures.shape[-1]

    def overview(self, sentences: Sequence[str], k: int = FOUND) -> Image.Image:
        """The nearest pictures of several sentences, a row each: a still picture of the widget."""
        found = [self.pictures_for(sentence, k) for sentence in sentences]
        tiles = torch.cat([self.pictures[list(f.index)] for f in found])
        cosines = [f"{c:.2f}" for f in found for c in f.cosine]
        return plots.tile(tiles, cosines, columns=len(found[0].index), scale=self._scale, row_labels=list(sentences))
