"""What can be asked of two towers without training: prompts for classes, and sentences that ought to be told apart.

`zero_shot` recognises attributes. `class_prompts` makes equally many texts for every value of an attribute, so that
they can be embedded as one tensor (classes, texts, D). The rest tests what contrastive embeddings are known to be weak
at: which colour belongs to which thing, the order of words, negation and counting (Yuksekgonul et al. 2023; Thrush et
al. 2022).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES, NAMES, check_attributes
from course_utils.datasets.captions import SYNONYMS, describe, full_caption
from course_utils.datasets.drawing import render
from course_utils.evaluation.chunks import device_of, in_chunks
from course_utils.images import check_pictures, to_float

if TYPE_CHECKING:
    from course_utils.models.clip import CLIP

# A class is described in several ways, with every species and every synonym, and its embeddings are averaged
# (Radford et al. 2021, §3.1.4), so that what a template says beside the class word averages out.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "species": ("a {}", "a photo of a {}", "a cute {}", "a plush {}"),
    "fur": ("a {} {animal}", "a photo of a {} {animal}"),
    "accessory": ("a {animal} with a {}", "a {animal} wearing a {}"),
    "accessory_colour": ("a {animal} with a {} {worn}", "a {animal} wearing a {} {worn}"),
    "background": ("a {animal} on a {} background", "a {animal} in front of a {} background"),
    "pattern": ("a {animal} on a {} background", "a {animal} against a {} background"),
}
# Words that do not fit their attribute's templates bring their own.
SPECIAL: dict[str, tuple[str, ...]] = {
    "bare": ("a {animal}, bare", "a {animal} with no accessory, bare"),
    "stripes": ("a {animal} on a sky background with {}",),
    "squares": ("a {animal} on a sky background with {}",),
    "dots": ("a {animal} on a sky background with {}",),
}


def zero_shot_prompts(name: str, value: str) -> list[str]:
    """The texts that stand for one value of one attribute."""
    return [
        text
        for word in SYNONYMS[name][value]
        for template in SPECIAL.get(word, TEMPLATES[name])
        for text in _filled(template, word)
    ]


@torch.no_grad()
def zero_shot(clip: CLIP, pictures: Tensor, attributes: Tensor) -> dict[str, float]:
    """Accuracy for each attribute when a picture takes the value with the nearest description.

    pictures (N, 3, H, W) in [-1, 1]; attributes (N, 6), -1 where one does not apply: that is not
    counted. (Radford et al. 2021, §3.1)
    """
    check_pictures(pictures, "pictures")
    expected = (len(pictures), len(NAMES))
    if attributes.shape != expected:
        raise ValueError(f"attributes: got shape {tuple(attributes.shape)}; expected {expected}")
    images = in_chunks(lambda x: clip.encode_image(x).float(), pictures, on=device_of(clip))
    truth, result = attributes.cpu(), {}
    for column, name in enumerate(NAMES):
        rows = truth[:, column] >= 0
        if not bool(rows.any()):
            continue
        texts = [clip.encode_text(zero_shot_prompts(name, value)) for value in ATTRIBUTES[name]]
        centres = F.normalize(torch.stack([t.float().mean(0).cpu() for t in texts]), dim=1)
        nearest = (images[rows] @ centres.T).argmax(1)
        result[name] = float((nearest == truth[rows, column]).float().mean())
    return result


def confusions(truth: Tensor, said: Tensor, kinds: int) -> Tensor:
    """How often each of K kinds (rows) was taken for which (columns): int64 (K, K).

    truth, said (N,) hold whole numbers from 0 to K - 1; truth may also be -1, for what has no kind, and is not counted
    there.
    """
    if truth.ndim != 1 or truth.shape != said.shape:
        raise ValueError(f"truth, said: got {tuple(truth.shape)} and {tuple(said.shape)}; expected (N,) twice")
    if len(truth) and (int(truth.min()) < -1 or int(said.min()) < 0 or int(torch.maximum(truth, said).max()) >= kinds):
        raise ValueError(f"truth, said: expected numbers from 0 to {kinds - 1}, or -1 in truth for none")
    known = truth >= 0
    return torch.bincount(truth[known] * kinds + said[known], minlength=kinds * kinds).view(kinds, kinds)


def class_prompts(name: str, templates: Sequence[str] | None = None) -> list[list[str]]:
    """For each value of attribute `name`, the same number of texts.

    `templates` hold {} for the value and may hold {animal} and {worn}, which take every species and every accessory.
    Left out, the texts are those of `zero_shot`, synonyms included; values with fewer texts repeat
    them all equally often, which leaves their mean as it is.
    """
    if name not in ATTRIBUTES:
        raise ValueError(f"name: got {name!r}; expected one of {', '.join(ATTRIBUTES)}")
    if templates is None:
        rows = [zero_shot_prompts(name, value) for value in ATTRIBUTES[name]]
        length = math.lcm(*(len(texts) for texts in rows))
        return [texts * (length // len(texts)) for texts in rows]
    if not templates or any("{}" not in t for t in templates):
        raise ValueError(f"templates: got {templates!r}; expected one or more, each with {{}} for the value")
    words = [SYNONYMS[name][value][0] for value in ATTRIBUTES[name]]
    return [[text for template in templates for text in _filled(template, word)] for word in words]


def _filled(template: str, word: str) -> list[str]:
    """A template with the word in it, once for each species and accessory that it leaves open."""
    animals = ATTRIBUTES["species"] if "{animal}" in template else ("",)
    worn = ATTRIBUTES["accessory"][1:] if "{worn}" in template else ("",)
    return [_mended(template.format(word, animal=animal, worn=w)) for animal in animals for w in worn]


def _mended(text: str) -> str:
    """The article that fits: "an elephant", "glasses" without one."""
    text = re.sub(r"\ba (?=elephant)", "an ", text)
    return re.sub(r"\ba ((?:\w+ )?(?:glasses|spectacles))", r"\1", text)


def swapped_colours(row: Tensor) -> str:
    """The full caption with the colours of fur and accessory exchanged: "a red bear with a brown hat"."""
    a = _worn(row)
    text = full_caption(row)
    return _mended(
        re.sub(
            rf"\b({a['fur']}|{a['accessory_colour']})\b",
            lambda m: a["accessory_colour"] if m[0] == a["fur"] else a["fur"],
            text,
            count=2,
        )
    )


def other_colour(row: Tensor, seed: int = 0) -> str:
    """The full caption with another colour for the accessory: a plain lie, to compare the subtle ones with."""
    a = _worn(row)
    others = [c for c in ATTRIBUTES["accessory_colour"] if c != a["accessory_colour"]]
    wrong = random.Random(f"{seed} {row.tolist()}").choice(others)
    return full_caption(row).replace(f"{a['accessory_colour']} {a['accessory']}", f"{wrong} {a['accessory']}")


def shuffled_words(row: Tensor, seed: int = 0) -> str:
    """The words of the full caption in a random order that is not the right one."""
    words = full_caption(row).replace(",", "").split()
    rng, mixed = random.Random(f"{seed} {row.tolist()}"), list(words)
    while mixed == words:
        rng.shuffle(mixed)
    return " ".join(mixed)


def _worn(row: Tensor) -> dict[str, str]:
    a = describe(row)
    if a.get("accessory", "nothing") == "nothing" or "fur" not in a or "accessory_colour" not in a:
        raise ValueError(f"row: got {row.tolist()}; expected a plushie that wears something, all attributes set")
    return a


@torch.no_grad()
def prefers_truth(
    encode_text: Callable[[list[str]], Tensor], image_emb: Tensor, true: Sequence[str], false: Sequence[str]
) -> tuple[float, float]:
    """(share of pictures nearer to their true sentence than to the false one, mean difference of the two cosines).

    image_emb (N, D) unit vectors, N sentences each; `encode_text` gives unit vectors (N, D). A tie counts half.
    """
    if not len(image_emb) or len(true) != len(image_emb) or len(false) != len(image_emb):
        raise ValueError(
            f"true, false: got {len(true)} and {len(false)}; expected {len(image_emb)} sentences each, one per picture"
        )
    a, b = ((image_emb * encode_text(list(texts)).to(image_emb.device)).sum(1).float() for texts in (true, false))
    right = (a > b).float() + 0.5 * (a == b).float()
    return float(right.mean()), float((a - b).mean())


def side_by_side(pictures: Tensor, count: int) -> Tensor:
    """`count` (1 to 4) plushies in one picture: uint8 (N · count, 3, S, S), S even → (N, 3, S, S) in [-1, 1].

    Each is drawn at half size into a quarter of the picture; free quarters stay grey. So one differs from several in
    number, and not in size.
    """
    if not 1 <= count <= 4:
        raise ValueError(f"count: got {count}; expected 1 to 4")
    side = pictures.shape[-1]
    if len(pictures) % count or pictures.shape[1:] != (3, side, side) or side % 2 or pictures.dtype != torch.uint8:
        raise ValueError(
            f"pictures: got {pictures.dtype} {tuple(pictures.shape)}; expected uint8 (a multiple of {count}, 3, S, S), "
            "S even"
        )
    half = F.avg_pool2d(to_float(pictures), 2).unflatten(0, (-1, count))
    canvas, s = torch.zeros(len(half), 3, side, side), side // 2
    for k in range(count):
        y, x = s * (k // 2), s * (k % 2)
        canvas[:, :, y : y + s, x : x + s] = half[:, k]
    return canvas


def with_and_without(attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, 6) with an accessory → (the same rows, the same rows with nothing on)."""
    rows = check_attributes(attributes)
    rows = rows[rows[:, 2] > 0]
    bare = rows.clone()
    bare[:, 2], bare[:, 3] = 0, -1
    return rows, bare


def sentence_tests(attributes: Tensor) -> dict[str, tuple[Tensor, list[str], list[str]]]:
    """Seven tests of what sentences mean: {name: (pictures (N, 3, 128, 128) in [-1, 1], N true sentences, N false ones)}.

    The pictures are drawn from the rows (M, 6) that wear something, two or more of them; where nothing is to be worn,
    the same plushies are drawn bare. In the first three tests the true sentence is the full caption, and the false one
    has another colour for the accessory, has the two colours swapped, or its words shuffled. Then follow "no hat" of
    plushies that wear one and of bare ones, and two bears in a picture that are said to be one, or three.
    """
    worn, bare = with_and_without(attributes)
    if len(worn) < 2:
        raise ValueError(f"attributes: got {len(worn)} rows with an accessory; expected 2 or more")
    seeds = torch.arange(len(worn))
    wearing, wearing_nothing = (to_float(render(rows, seeds)) for rows in (worn, bare))
    full = [full_caption(row) for row in worn]
    has, lacks = ([_with(row, word) for row in worn] for word in ("a", "no"))
    bears = worn[: len(worn) // 2 * 2].clone()
    bears[:, NAMES.index("species")] = ATTRIBUTES["species"].index("bear")
    two = side_by_side(render(bears, seeds[: len(bears)]), 2)
    one_bear, two_bears, three_bears = ([text] * len(two) for text in ("one bear", "two bears", "three bears"))
    return {
        "another colour": (wearing, full, [other_colour(row) for row in worn]),
        "swapped colours": (wearing, full, [swapped_colours(row) for row in worn]),
        "shuffled words": (wearing, full, [shuffled_words(row) for row in worn]),
        "“no hat”, has one": (wearing, has, lacks),
        "“no hat”, has none": (wearing_nothing, lacks, has),
        "two bears, not one": (two, two_bears, one_bear),
        "two bears, not three": (two, two_bears, three_bears),
    }


def _with(row: Tensor, word: str) -> str:
    """ "a bear with no hat", for the word no."""
    a = describe(row)
    return _mended(f"a {a['species']} with {word} {a['accessory']}")
