"""Byte-pair encoding as Hugging Face's `tokenizers` learns it: an independent answer for the course's own."""

from __future__ import annotations

import json
from collections.abc import Iterable

from course_utils.models.tokenizer import SPECIALS


def library_merges(corpus: Iterable[str], vocab_size: int) -> list[tuple[str, str]] | None:
    """The merges that the library learns under the course's rules, in order; None where it is not installed.

    The rules in the library's own words: lower case, single spaces and one in front, GPT-2's pieces, 256 bytes.
    """
    try:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    except ImportError:
        return None
    library = Tokenizer(models.BPE())
    library.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),
        ]
    )
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(corpus, trainer)
    return [tuple(merge) for merge in json.loads(library.to_str())["model"]["merges"]]
