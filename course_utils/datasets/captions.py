"""Captions of the Plushies: paraphrases, omissions, and the way back from a text to the attributes it names.

Each content word belongs to one value of one attribute, so that what a text names can be looked up word by
word. A caption may leave an attribute out; then the text leaves it open, and pictures that differ in it are
equally right. The judge's adherence counts only what the caption names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from course_utils.arguments import short, whole
from course_utils.arguments import text as checked_text
from course_utils.datasets.attributes import ATTRIBUTES, NAMES

SYNONYMS: dict[str, dict[str, tuple[str, ...]]] = {
    "species": {
        "bear": ("bear", "teddy"),
        "cat": ("cat", "kitten"),
        "rabbit": ("rabbit", "bunny"),
        "mouse": ("mouse",),
        "dog": ("dog", "puppy"),
        "elephant": ("elephant",),
    },
    "fur": {
        "brown": ("brown", "chocolate"),
        "golden": ("golden", "honey"),
        "white": ("white", "snowy"),
        "grey": ("grey", "gray"),
        "pink": ("pink",),
        "blue": ("blue",),
    },
    "accessory": {
        "nothing": ("bare",),
        "hat": ("hat",),
        "scarf": ("scarf",),
        "bowtie": ("bowtie",),
        "glasses": ("glasses", "spectacles"),
    },
    "accessory_colour": {
        "red": ("red", "scarlet"),
        "green": ("green",),
        "yellow": ("yellow",),
        "purple": ("purple", "violet"),
    },
    "background": {
        "sky": ("sky",),
        "mint": ("mint",),
        "sand": ("sand", "sandy"),
        "night": ("night", "dark"),
        "rose": ("rose",),
    },
    "pattern": {
        "plain": ("plain",),
        "striped": ("striped", "stripes"),
        "checked": ("checked", "checkered", "squares"),
        "dotted": ("dotted", "dots"),
    },
}
WORDS: dict[str, tuple[str, str]] = {
    word: (name, value) for name, values in SYNONYMS.items() for value, words in values.items() for word in words
}
"""Every content word → (attribute, value)."""

# Words that hold a caption together and name nothing.
FILLERS = frozenset(
    "a an the of with wearing in on at against front background wall plush plushie toy soft little cute photo picture "
    "this is and no accessory fur furry coloured it its sits before".split()
)
EXAMPLES = (
    "a brown bear with a red hat on a plain sky background",
    "a white rabbit with a purple scarf on a striped mint background",
    "a blue elephant with a yellow bowtie on a dotted rose background",
    "a pink cat with green glasses on a checked night background",
)
"""Four prompts that name all attributes, each with other values: what notebooks show of a model."""

_NOUNS = {"striped": "stripes", "checked": "squares", "dotted": "dots"}
OMIT = {"fur": 0.12, "accessory": 0.12, "accessory_colour": 0.12, "background": 0.15, "pattern": 0.15}


def describe(row: Tensor | Sequence[int]) -> dict[str, str]:
    """An attribute row (6,) in words; columns that hold -1 are left out."""
    row = _checked(row)
    return {name: ATTRIBUTES[name][int(v)] for name, v in zip(NAMES, row, strict=True) if int(v) >= 0}


def _words(attributes: dict[str, str], rng: random.Random) -> str:
    """One way to say what `attributes` holds."""

    def say(name: str) -> str:
        words = [word for word in SYNONYMS[name][attributes[name]] if word not in _NOUNS.values()]
        return words[0] if rng.random() < 0.7 else rng.choice(words)

    opener = rng.choice(("a", "a", "a", "a photo of a", "a picture of a", "this is a", "a cute", "a soft", "a plush"))
    animal = f"{say('fur')} {say('species')}" if "fur" in attributes else say("species")
    worn = attributes.get("accessory")
    if worn == "nothing":
        wearing = rng.choice((" with no accessory, bare", ", bare"))
    elif worn:
        article = "" if worn == "glasses" else "a "
        colour = f"{say('accessory_colour')} " if "accessory_colour" in attributes else ""
        wearing = f" {rng.choice(('wearing', 'with', 'in'))} {article}{colour}{say('accessory')}"
    else:
        wearing = ""
    ground, pattern = attributes.get("background"), attributes.get("pattern")
    if ground and pattern:
        if pattern in _NOUNS and rng.random() < 0.3:
            place = f" on a {say('background')} background with {_NOUNS[pattern]}"
        else:
            place = f" {rng.choice(('on a', 'against a', 'in front of a'))} {say('pattern')} {say('background')} {rng.choice(('background', 'wall'))}"
    elif ground:
        place = f" {rng.choice(('on a', 'against a', 'in front of a'))} {say('background')} background"
    elif pattern:
        place = f" {rng.choice(('on a', 'against a', 'in front of a'))} {say('pattern')} background"
    else:
        place = ""
    text = f"{opener} {animal}{wearing}{place}"
    return re.sub(r"\ba (?=elephant)", "an ", text)


def caption(row: Tensor | Sequence[int], seed: int) -> str:
    """A caption of the attribute row (6,): a function of the row and the seed.

    The species is always named; each other attribute is left out now and then. A colour is never named
    without the accessory that has it.
    """
    row = _checked(row)
    rng = random.Random(
        whole("seed", seed, -(2**63), 2**63) * 1_000_003 + sum((int(v) + 2) * 7**i for i, v in enumerate(row))
    )
    attributes = {name: v for name, v in describe(row).items() if rng.random() >= OMIT.get(name, 0.0)}
    if "accessory" not in attributes:
        attributes.pop("accessory_colour", None)
    return _words(attributes, rng)


def full_caption(row: Tensor | Sequence[int]) -> str:
    """The plainest caption that names every attribute of the row."""
    a = describe(row)
    if missing := [
        name for name in NAMES if name not in a and (name != "accessory_colour" or a["accessory"] != "nothing")
    ]:
        raise ValueError(f"row: expected every attribute, got none for {', '.join(missing)}")
    worn = a["accessory"]
    wearing = (
        ", bare" if worn == "nothing" else f" with {'' if worn == 'glasses' else 'a '}{a['accessory_colour']} {worn}"
    )
    return f"a {a['fur']} {a['species']}{wearing} on a {a['pattern']} {a['background']} background"


def _checked(row: Tensor | Sequence[int]) -> list[int]:
    """A row's six numbers, each within its attribute or -1, or a ValueError."""
    try:
        values = row.tolist() if isinstance(row, Tensor) else list(row)
    except TypeError:
        values = []
    if not isinstance(values, list) or len(values) != len(NAMES):
        raise ValueError(f"row: expected {len(NAMES)} numbers, one for each attribute, got {short(row)}")
    sizes = (len(ATTRIBUTES[name]) for name in NAMES)
    return [whole(f"row: {name}", v, -1, n - 1) for name, v, n in zip(NAMES, values, sizes, strict=True)]


def _split(text: str) -> list[str]:
    if not isinstance(text, str):
        checked_text("text", text)
    return re.findall(r"[^\W_]+", text.lower())


def named(text: str) -> Tensor:
    """What a text names: int64 (6,), -1 where it names nothing. Where it names two values, the first counts."""
    row = torch.full((len(NAMES),), -1, dtype=torch.int64)
    for word in _split(text):
        if word in WORDS:
            name, value = WORDS[word]
            column = NAMES.index(name)
            if row[column] < 0:
                row[column] = ATTRIBUTES[name].index(value)
    return row


def true_of(rows: Tensor, told: Tensor) -> Tensor:
    """Attributes (N, 6) of pictures, what captions tell (M, 6), as `named` reads it → bool (N, M).

    True at [i, j] where caption j is true of picture i: each attribute that it names is the picture's.
    """
    for name, given in (("rows", rows), ("told", told)):
        if not isinstance(given, Tensor) or given.ndim != 2 or given.shape[1] != len(NAMES):
            raise ValueError(f"{name}: got {tuple(getattr(given, 'shape', ()))}; expected (any number, {len(NAMES)})")
    return ((told[None] == rows[:, None]) | (told[None] < 0)).all(2)


def unknown_words(text: str) -> list[str]:
    """The words of a text that no caption of the data set contains, in their order."""
    return [word for word in _split(text) if word not in WORDS and word not in FILLERS]


def skeleton(text: str) -> str:
    """A text with each content word replaced by its attribute: "a red bear" -> "a <accessory_colour> <species>".

    Two captions with the same skeleton have the same grammar; a text whose skeleton no caption has is broken.
    """
    return " ".join(f"<{WORDS[word][0]}>" if word in WORDS else word for word in _split(text))
