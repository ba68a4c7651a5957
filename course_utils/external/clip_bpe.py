"""CLIP's own tokenizer with its 48,894 merges, as open_clip carries it: no network needed."""

from __future__ import annotations

import copy


class ClipBPE:
    """open_clip's `SimpleTokenizer` with the methods of the course's `Tokenizer`.

    A word's last symbol ends in `</w>`, where GPT-2 and the course mark the space in front. Text is cleaned and
    lower-cased first, so `decode(encode(text))` need not be `text`.
    """

    context_length = 77

    def __init__(self):
        from open_clip.tokenizer import SimpleTokenizer

        self._library = SimpleTokenizer(context_length=self.context_length)
        self.merges: list[tuple[str, str]] = list(self._library.bpe_ranks)

    @property
    def vocab_size(self) -> int:
        """Twice the 256 bytes (within a word and at its end), the merges, and two specials."""
        return 2 * 256 + len(self.merges) + 2

    def first(self, merges: int) -> ClipBPE:
        """The same tokenizer after its first `merges` merges only: what CLIP's would have been with fewer."""
        if not 0 <= merges <= len(self.merges):
            raise ValueError(f"merges: got {merges}; expected 0 to {len(self.merges)}")
        fewer = copy.copy(self)
        fewer._library = copy.copy(self._library)
        fewer.merges = self.merges[:merges]
        fewer._library.bpe_ranks = {merge: rank for rank, merge in enumerate(fewer.merges)}
        fewer._library.cache = {}
        return fewer

    def encode(self, text: str) -> list[int]:
        """The ids of a text, without specials."""
        return self._library.encode(text)

    def tokens(self, text: str) -> list[str]:
        """`encode`, with each id shown as its symbol."""
        return [self._library.decoder[i] for i in self.encode(text)]

    def decode(self, ids: list[int]) -> str:
        """The text of ids: lower case, a space after each word."""
        return self._library.decode(ids)

    def dropped(self, text: str) -> int:
        """How many tokens of `text` do not fit beside the two specials; the library cuts them off silently."""
        return max(0, len(self.encode(text)) + 2 - self.context_length)
