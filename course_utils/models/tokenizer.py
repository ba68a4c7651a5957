"""Byte-level byte-pair encoding: text in, integers out, and any text comes back unharmed.

Sennrich et al. 2016 (arXiv:1508.07909) merge frequent pairs of symbols; Radford et al. 2019 (GPT-2)
start from the 256 bytes instead of letters, so that no text is unknown. Merges and ids equal those of
Hugging Face's `tokenizers` (`ByteLevel` + `BpeTrainer`) trained on the same texts; the tests hold it to that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable

import regex
import torch

from course_utils.arguments import short, whole
from course_utils.arguments import text as checked_text

PAD, START, END = SPECIALS = ("<pad>", "<start>", "<end>")

# GPT-2's pre-tokenisation. Merges never cross these pieces: an English contraction; letters, digits or
# signs, each with the one space before it; white space. Joined together the pieces are the text.
PIECES = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def _byte_alphabet() -> dict[int, str]:
    """A visible character for every byte, as GPT-2 writes them: 32, the space, becomes `Ġ`."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(256 + i) for i, byte in enumerate(hidden)}


BYTE_TO_CHAR = _byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}
ALPHABET = sorted(CHAR_TO_BYTE)  # by code point: the order in which the library hands out ids


def pieces(text: str) -> list[str]:
    """`text` cut by `PIECES` and written in the byte alphabet: "a hat" -> ["a", "Ġhat"]."""
    return [_in_bytes(piece) for piece in PIECES.findall(text)]


def _in_bytes(piece: str) -> str:
    return "".join(BYTE_TO_CHAR[byte] for byte in piece.encode())


def normalise(text: str) -> str:
    """A prompt as the models read it: lower case, single spaces, and one space in front.

    The space in front makes a word the same token at the start of a prompt as in its middle. An empty
    prompt stays empty.
    """
    return "".join(f" {word}" for word in text.lower().split())


def learn_merges(counts: dict[str, int], vocab_size: int) -> list[tuple[str, str]]:
    """The merges, in order, that byte-pair encoding learns from words with their counts.

    counts: word in the byte alphabet -> how often it occurs. Each step joins the pair of neighbours that
    occurs most often; of equally frequent ones the pair with the smallest ids. Learning ends at
    `vocab_size` symbols (specials and alphabet included), or when no pair is left.
    """
    symbols = [*SPECIALS, *ALPHABET]
    ids = {symbol: i for i, symbol in enumerate(symbols)}
    words = [[ids[char] for char in word] for word in counts]
    weights = list(counts.values())
    pairs: Counter[tuple[int, int]] = Counter()
    where = defaultdict(set)  # the words that (may) hold a pair
    for i, word in enumerate(words):
        for pair in zip(word, word[1:], strict=False):
            pairs[pair] += weights[i]
            where[pair].add(i)

    merges = []
    while len(symbols) < vocab_size and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        a, b = symbols[best[0]], symbols[best[1]]
        merges.append((a, b))
        symbols.append(a + b)
        for i in where.pop(best):
            before, words[i] = words[i], _join(words[i], best, len(symbols) - 1)
            for pair in zip(before, before[1:], strict=False):
                pairs[pair] -= weights[i]
                if not pairs[pair]:
                    del pairs[pair]
            for pair in zip(words[i], words[i][1:], strict=False):
                pairs[pair] += weights[i]
                where[pair].add(i)
    return merges


def _join(word: list, pair: tuple, joined) -> list:
    """`word` with every occurrence of `pair`, from left to right, replaced by `joined`."""
    out, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            out.append(joined)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


class Tokenizer:
    """Byte-level BPE with ids 0, 1, 2 = `<pad>`, `<start>`, `<end>`, then the 256 bytes, then the merges.

    `encode` and `decode` are lossless. Calling the tokenizer is what models do with prompts: there the
    text is first `normalise`d, then framed by `<start>` and `<end>` and padded to `context_length`.
    """

    def __init__(self, merges: Iterable[tuple[str, str]], context_length: int = 24):
        context_length = whole("context_length", context_length, 2, 1_000_000)  # with <start> and <end>
        self.merges = [tuple(merge) for merge in merges]
        if bad := [m for m in self.merges if len(m) != 2 or not all(isinstance(half, str) for half in m)]:
            raise ValueError(f"merges holds {short(bad[0])}; expected pairs of strings")
        self.context_length = context_length
        joined = ["".join(merge) for merge in self.merges]
        self.symbols = [*SPECIALS, *ALPHABET, *joined]  # id -> symbol
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        for a, b in self.merges:
            if a not in self._ids or b not in self._ids:
                raise ValueError(f"merges holds {(a, b)!r}, a half of which is neither a byte nor a merge")
        self._rank = {merge: i for i, merge in enumerate(self.merges)}
        self._cache: dict[str, list[int]] = {}  # piece -> ids: captions use few words, many times
        self.pad_id, self.start_id, self.end_id = (self._ids[s] for s in SPECIALS)

    @classmethod
    def train(cls, corpus: Iterable[str], vocab_size: int, context_length: int = 24) -> Tokenizer:
        """Learn merges from texts, `normalise`d as prompts are. A small corpus may yield fewer symbols."""
        smallest = len(SPECIALS) + len(ALPHABET)
        vocab_size = whole("vocab_size", vocab_size, smallest)
        counts = Counter(piece for text in corpus for piece in pieces(normalise(text)))
        return cls(learn_merges(counts, vocab_size), context_length)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, the special ones included."""
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids of `text` as it stands: no specials, no lower-casing, nothing lost."""
        return [i for piece in PIECES.findall(checked_text("text", text)) for i in self._encode_piece(piece)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`, without the specials. Bytes that are no UTF-8 (half a letter) show as U+FFFD."""
        ids = [whole("ids", i.item() if hasattr(i, "item") else i, 0) for i in ids]
        if outside := [i for i in ids if i >= self.vocab_size]:
            raise ValueError(f"ids holds {outside[0]}; expected 0 to {self.vocab_size - 1}")
        chars = "".join(self.symbols[i] for i in ids if i >= len(SPECIALS))
        return bytes(CHAR_TO_BYTE[char] for char in chars).decode(errors="replace")

    def tokens(self, text: str) -> list[str]:
        """`encode`, with each id shown as its symbol in the byte alphabet (`Ġ` is a space)."""
        return [self.symbols[i] for i in self.encode(text)]

    def __call__(self, texts: str | list[str]) -> torch.Tensor:
        """Prompts, `normalise`d -> int64 (B, context_length): `<start>`, ids, `<end>`, then `<pad>`.

        ValueError if a prompt is too long: cutting it would drop words silently.
        """
        if not isinstance(texts, Iterable):
            raise ValueError(f"texts is {short(texts)}; expected a string or a list of strings")
        texts = [texts] if isinstance(texts, str) else list(texts)
        room = self.context_length - 2
        rows = []
        for text in texts:
            said = normalise(checked_text("text", text))
            # Cutting takes the square of a word's length: what cannot fit in any case is not cut at all.
            fewest = -(-len(said.encode()) // max(map(len, self.symbols)))
            ids = self.encode(said) if fewest <= room else range(fewest)
            if len(ids) > room:
                least = "" if fewest <= room else "at least "
                raise ValueError(f"prompt {_short(text)!r} is too long: {least}{len(ids)} tokens, and {room} fit")
            rows.append([self.start_id, *ids, self.end_id] + [self.pad_id] * (room - len(ids)))
        return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), self.context_length)

    def to_dict(self) -> dict:
        """All there is to know, JSON-able; `from_dict` is its inverse."""
        return {"merges": [list(merge) for merge in self.merges], "context_length": self.context_length}

    @classmethod
    def from_dict(cls, saved: dict) -> Tokenizer:
        """The tokenizer that `to_dict` described."""
        if not isinstance(saved, dict):
            raise ValueError(f"saved tokenizer is {short(saved)}; expected a dict with merges and context_length")
        if missing := {"merges", "context_length"} - set(saved):
            raise ValueError(f"saved tokenizer lacks {', '.join(sorted(missing))}; it has {sorted(saved)}")
        return cls(saved["merges"], saved["context_length"])

    def _encode_piece(self, piece: str) -> list[int]:
        """Apply to one piece, again and again, the earliest-learnt merge that fits."""
        if piece not in self._cache:
            word = list(_in_bytes(piece))
            while len(word) > 1:
                neighbours = zip(word, word[1:], strict=False)
                best = min(neighbours, key=lambda pair: self._rank.get(pair, len(self._rank)))
                if best not in self._rank:
                    break
                word = _join(word, best, "".join(best))
            self._cache[piece] = [self._ids[symbol] for symbol in word]
        return self._cache[piece]


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
