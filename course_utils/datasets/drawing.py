"""How a plushie is drawn: signed distance functions in batched torch code.

Every picture is a pure function of its attributes and one integer seed: the same seed gives the same bytes.
Positions run over [-1, 1] in both axes, x to the right, y down; colours over [0, 1].

A picture is painted back to front: a background with a pattern, then the parts of the animal, then its
accessory. A part is an ellipse, a pointed ellipse, a box or a ring, and its edge is softened over a pixel.
Fur is noise that is new in every picture: nobody can predict it, which is what notebook 03 is about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from course_utils.arguments import short, whole
from course_utils.datasets.attributes import check_attributes
from course_utils.datasets.seeds import uniform

T = TypeVar("T")

RESOLUTIONS = (32, 64, 128, 256)

FUR = torch.tensor(
    [
        [0.47, 0.29, 0.17],
        [0.88, 0.65, 0.25],
        [0.93, 0.92, 0.88],
        [0.52, 0.53, 0.56],
        [0.94, 0.56, 0.68],
        [0.30, 0.46, 0.82],
    ]
)
ACCESSORY = torch.tensor([[0.85, 0.10, 0.10], [0.05, 0.58, 0.18], [0.99, 0.87, 0.05], [0.48, 0.12, 0.66]])
BACKGROUND = torch.tensor(
    [[0.62, 0.82, 0.96], [0.66, 0.90, 0.76], [0.90, 0.81, 0.62], [0.12, 0.13, 0.30], [0.86, 0.52, 0.56]]
)
DARK, PALE, PINK = (
    torch.tensor([0.10, 0.08, 0.09]),
    torch.tensor([0.97, 0.93, 0.86]),
    torch.tensor([0.93, 0.60, 0.62]),
)

# Parts by species, one row each: centre x and y, radius x and y, tilt in radians, pointedness.
# A part with a centre off the axis is drawn on both sides.
EARS = torch.tensor(
    [
        [0.34, -0.60, 0.17, 0.17, 0.0, 0.0],  # bear
        [0.30, -0.60, 0.20, 0.33, 0.40, 1.0],  # cat
        [0.30, -0.78, 0.12, 0.34, 0.30, 0.0],  # rabbit
        [0.50, -0.58, 0.30, 0.30, 0.0, 0.0],  # mouse
        [0.46, -0.18, 0.14, 0.34, -0.22, 0.0],  # dog
        [0.60, -0.26, 0.30, 0.36, -0.10, 0.0],  # elephant
    ]
)
INNER_EARS = EARS * torch.tensor([1.0, 1.0, 0.55, 0.60, 1.0, 1.0])
INNER_EARS[4, 2:4] = 0.0
MUZZLE = torch.tensor(
    [
        [0.0, -0.10, 0.20, 0.15, 0.0, 0.0],
        [0.0, -0.08, 0.14, 0.09, 0.0, 0.0],
        [0.0, -0.08, 0.15, 0.11, 0.0, 0.0],
        [0.0, -0.06, 0.13, 0.12, 0.0, 0.0],
        [0.0, -0.06, 0.24, 0.20, 0.0, 0.0],
        [0.0, 0.10, 0.11, 0.34, 0.0, 0.0],
    ]
)
NOSE = torch.tensor(
    [
        [0.0, -0.16, 0.085, 0.06, 0.0, 0.0],
        [0.0, -0.12, 0.05, 0.04, 0.0, 0.0],
        [0.0, -0.14, 0.05, 0.04, 0.0, 0.0],
        [0.0, -0.06, 0.07, 0.07, 0.0, 0.0],
        [0.0, -0.15, 0.10, 0.075, 0.0, 0.0],
        [0.0, 0.39, 0.07, 0.04, 0.0, 0.0],
    ]
)
# Accessories take up to three parts: centre x and y, radius x and y, tilt, pointedness, boxiness, ring.
WORN = torch.tensor(
    [
        [[0.0] * 8, [0.0] * 8, [0.0] * 8],
        [
            [0, -0.52, 0.42, 0.08, 0, 0, 0, 0],
            [0, -0.74, 0.24, 0.22, 0, 0, 1, 0],
            [0.0] * 8,
        ],  # hat: brim, crown
        [[0, 0.15, 0.38, 0.12, 0, 0, 0, 0], [0.22, 0.40, 0.11, 0.25, -0.15, 0, 1, 0], [0.0] * 8],  # scarf
        [[0.19, 0.22, 0.19, 0.17, 0, 0.6, 0, 0], [0, 0.22, 0.07, 0.08, 0, 0, 0, 0], [0.0] * 8],  # bow tie
        [[0.19, -0.27, 0.17, 0.17, 0, 0, 0, 1], [0, -0.29, 0.09, 0.035, 0, 0, 1, 0], [0.0] * 8],  # glasses
    ],
    dtype=torch.float32,
)
RING_WIDTH = 0.055
EDGE_SHADE = 0.10  # fur darkens towards a part's edge over this distance
FUR_STRENGTH = 0.09


def _noise(seeds: Tensor, stream: int, size: int) -> Tensor:
    """(N,) seeds → (N, size, size) lattice noise with mean 0 and standard deviation 1 (triangular law)."""
    flat = uniform(seeds, stream, size * size)
    other = uniform(seeds, stream + 1, size * size)
    return ((flat + other - 1.0) * 6**0.5).view(-1, size, size)


def _fur(seeds: Tensor, size: int) -> Tensor:
    """Fur: noise at the scale of a 64th of the picture, with strands that hang down, and finer octaves."""
    noise = _noise(seeds, 10, 64)
    strands = 0.8 * noise + 0.6 * torch.roll(noise, 1, dims=1)
    if size == 32:
        return F.avg_pool2d(strands[:, None], 2)[:, 0]
    octave = 64
    while octave < size:
        octave *= 2
        strands = F.interpolate(strands[:, None], size=(octave, octave), mode="bilinear", align_corners=False)[:, 0]
        strands = strands + 0.5 * _noise(seeds, 10 + octave, octave)
    return strands


def _field(part: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Approximate signed distance of a part, negative inside. part (N, 6 or 8); x, y (N, H, W)."""
    p = part[:, :, None, None]
    cx, cy, rx, ry, tilt, pointed = (p[:, i] for i in range(6))
    x = torch.where(cx > 0, x.abs(), x) - cx
    y = y - cy
    c, s = tilt.cos(), tilt.sin()
    rx, ry = rx.clamp(min=1e-3), ry.clamp(min=1e-3)
    u, v = ((c * x + s * y) / rx).abs(), ((c * y - s * x) / ry).abs()
    norm = (u * u + v * v).sqrt()
    if bool((part[:, 5] > 0).any()):
        norm = norm + pointed * (u + v - norm)
    if part.shape[1] == 8 and bool((part[:, 6] > 0).any()):
        norm = norm + p[:, 6] * (torch.maximum(u, v) - norm)
    distance = (norm - 1.0) * torch.minimum(rx, ry)
    if part.shape[1] == 8 and bool((part[:, 7] > 0).any()):
        distance = torch.where(p[:, 7] > 0, distance.abs() - RING_WIDTH, distance)
    # A part of no size is nowhere.
    return torch.where(p[:, 2] > 0, distance, torch.ones_like(distance))


def _paint(image: Tensor, distance: Tensor, colour: Tensor, pixel: Tensor) -> None:
    """Lay `colour` (N, 3, 1, 1 or N, 3, H, W) over `image` in place where `distance` is negative."""
    cover = (0.5 - distance / pixel).clamp(0.0, 1.0)[:, None]
    image.lerp_(colour.expand_as(image), cover.expand_as(image))


def _background(a: Tensor, u: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The background's colour with its pattern, (N, 3, H, W)."""
    ground = (BACKGROUND[a[:, 4]] + 0.05 * (u[:, 0:3] - 0.5))[:, :, None, None]
    turn = (u[:, 3] - 0.5)[:, None, None] * 0.5
    period = (0.46 + 0.08 * u[:, 4])[:, None, None]
    c, s = turn.cos(), turn.sin()
    p, q = (c * x + s * y) / period + u[:, 5, None, None], (c * y - s * x) / period + u[:, 6, None, None]
    p, q = torch.sin(2 * torch.pi * p), torch.sin(2 * torch.pi * q)
    kinds = torch.stack([torch.full_like(p, -1.0), 1.6 * p, 2.5 * p * q, 2.5 * (p + q - 1.0)], dim=1)
    height = kinds.gather(1, a[:, 5, None, None, None].expand(-1, 1, *p.shape[1:])).clamp(-1.0, 1.0)
    # Light grounds get a darker pattern, the night a lighter one.
    step = torch.where(a[:, 4] == 3, 0.30, -0.22)[:, None, None, None]
    return ground + step * (0.5 + 0.5 * height)


@torch.no_grad()
def _draw(a: Tensor, seeds: Tensor, fur_seeds: Tensor, size: int) -> Tensor:
    """(N, 6) attributes, (N,) seeds of everything but the fur, (N,) seeds of the fur → (N, 3, size, size) uint8."""
    axis = (torch.arange(size) + 0.5) * (2.0 / size) - 1.0
    y0, x0 = torch.meshgrid(axis, axis, indexing="ij")
    x0, y0 = x0.expand(len(a), -1, -1), y0.expand(len(a), -1, -1)
    u = uniform(seeds, 0, 24)
    image = _background(a, u, x0, y0).contiguous()

    # The animal's own frame: place, size and tilt vary.
    place, zoom = 0.20 * (u[:, 7:9] - 0.5), 0.76 + 0.12 * u[:, 9]
    tilt = 0.36 * (u[:, 10] - 0.5)
    c, s = (tilt.cos() / zoom)[:, None, None], (tilt.sin() / zoom)[:, None, None]
    dx, dy = x0 - place[:, 0, None, None], y0 - place[:, 1, None, None]
    x, y = c * dx + s * dy, c * dy - s * dx
    pixel = (2.0 / size / zoom)[:, None, None]

    fur = (FUR[a[:, 1]] + 0.07 * (u[:, 11:14] - 0.5))[:, :, None, None]
    strands = FUR_STRENGTH * _fur(fur_seeds, size)[:, None]

    def furry(distance: Tensor, colour: Tensor) -> None:
        shade = (-distance / EDGE_SHADE).clamp(0.0, 1.0)[:, None]
        _paint(image, distance, colour * (0.70 + 0.30 * shade) + strands, pixel)

    def rows(*values: float) -> Tensor:
        return torch.tensor(values)[None].expand(len(a), -1)

    pale = fur + 0.45 * (PALE.view(1, 3, 1, 1) - fur)
    species = a[:, 0]
    is_dog, is_elephant = (species == 4)[:, None, None, None], (species == 5)[:, None, None, None]
    ear_part = EARS[species]
    ears_in_front = ear_part[:, 1] > -0.20
    ear = torch.where(is_dog, 0.62 * fur, fur)

    behind = _field(ear_part, x, y)
    furry(torch.where(ears_in_front[:, None, None], 1.0, behind), ear)
    inner = PINK.view(1, 3, 1, 1) + 0.35 * (fur - PINK.view(1, 3, 1, 1))
    _paint(image, _field(INNER_EARS[species], x, y), inner, pixel)
    furry(_field(rows(0.22, 0.86, 0.19, 0.14, 0.0, 0.0), x, y), fur)  # feet
    furry(_field(rows(0.0, 0.50, 0.40, 0.42, 0.0, 0.0), x, y), fur)  # body
    furry(_field(rows(0.0, 0.56, 0.23, 0.25, 0.0, 0.0), x, y), pale)  # belly
    furry(_field(rows(0.40, 0.42, 0.12, 0.24, 0.45, 0.0), x, y), fur)  # arms
    furry(_field(rows(0.0, -0.24, 0.45, 0.41, 0.0, 0.0), x, y), fur)  # head
    furry(torch.where(ears_in_front[:, None, None], behind, 1.0), ear)
    _paint(image, _field(rows(0.19, -0.27, 0.062, 0.075, 0.0, 0.0), x, y), DARK.view(1, 3, 1, 1), pixel)  # eyes
    furry(_field(MUZZLE[species], x, y), torch.where(is_elephant, 0.85 * fur, pale))
    nose = torch.where((species == 0)[:, None] | (species == 4)[:, None], DARK, 0.75 * PINK)[:, :, None, None]
    _paint(image, _field(NOSE[species], x, y), torch.where(is_elephant, 0.5 * fur, nose), pixel)

    worn = WORN[a[:, 2]]
    cloth = (ACCESSORY[a[:, 3].clamp(min=0)] + 0.05 * (u[:, 14:17] - 0.5))[:, :, None, None]
    for k, light in enumerate((1.0, 0.88)):
        distance = _field(worn[:, k], x, y)
        shade = (-distance / 0.05).clamp(0.0, 1.0)[:, None]
        _paint(image, distance, cloth * light * (0.75 + 0.25 * shade), pixel)
    return (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def check_seeds(name: str, seeds: Tensor, n: int) -> Tensor:
    """(n,) whole numbers as int64 on the CPU, or a ValueError."""
    try:
        seeds = torch.as_tensor(seeds).cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise ValueError(f"{name}: got {short(seeds)}; expected whole numbers ({n},)") from None
    if (seeds.is_floating_point() and seeds.numel()) or seeds.is_complex() or seeds.dtype == torch.bool:
        raise ValueError(f"{name}: got {seeds.dtype}; expected whole numbers")
    seeds = seeds.to(torch.int64)
    if seeds.shape != (n,):
        raise ValueError(f"{name}: got shape {tuple(seeds.shape)}; expected ({n},), one for each row of attributes")
    return seeds


def check_size(size: int) -> int:
    """One of `RESOLUTIONS`, or a ValueError."""
    if whole("size", size, 1) not in RESOLUTIONS:
        raise ValueError(f"size: got {size}; expected one of {RESOLUTIONS}")
    return int(size)


def each_on_a_core(draw: Callable[..., T], *parts: Sequence) -> list[T]:
    """`draw` of each chunk, on a core of its own.

    Split among cores, each of a chunk's many small operations would first have to wake them up.
    """
    threads = min(len(parts[0]), torch.get_num_threads())
    if threads <= 1:
        return list(map(draw, *parts))
    with ThreadPoolExecutor(threads, "render", initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(draw, *parts))


def checked(
    attributes: Tensor, seeds: Tensor, size: int, fur_seeds: Tensor | None
) -> tuple[Tensor, Tensor, int, Tensor]:
    """What `render` was given, ready for drawing, or a ValueError."""
    size = check_size(size)
    a = check_attributes(attributes).cpu()
    seeds = check_seeds("seeds", seeds, len(a))
    return a, seeds, size, seeds if fur_seeds is None else check_seeds("fur_seeds", fur_seeds, len(a))


def render(attributes: Tensor, seeds: Tensor, size: int = 64, fur_seeds: Tensor | None = None) -> Tensor:
    """Draw plushies: (N, 6) attributes and (N,) integer seeds → (N, 3, size, size) uint8.

    The same attributes and seed give the same plushie at every size (32, 64, 128 or 256). With `fur_seeds` (N,),
    the fur follows these and all else still follows `seeds`: the same plushie in other fur.
    """
    a, seeds, size, fur_seeds = checked(attributes, seeds, size, fur_seeds)
    # Chunks that fit the processor's cache are several times faster than one large batch.
    chunk = max(1, 32 * 64 * 64 // (size * size))
    if not len(a):
        return torch.empty(0, 3, size, size, dtype=torch.uint8)
    parts = a.split(chunk), seeds.split(chunk), fur_seeds.split(chunk), [size] * -(-len(a) // chunk)
    return torch.cat(each_on_a_core(_draw, *parts))
