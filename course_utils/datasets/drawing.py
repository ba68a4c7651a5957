"""How a plushie is drawn: a wall, a shadow, an animal hung on a skeleton, what it wears, and its fur.

Every picture is a pure function of its attributes and one integer seed: the same seed gives the same bytes.
`species` says how animals are built, `shapes` paints, `scenery` and `fur` do the rest; here they come together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_utils.datasets import fur as hair
from course_utils.datasets.orders import checked, each_on_a_core
from course_utils.datasets.pose import Pose
from course_utils.datasets.scenery import backdrop
from course_utils.datasets.seeds import Draws, uniform
from course_utils.datasets.shapes import BLUSH, QUARTER, SHADE, Canvas, Frame
from course_utils.datasets.species import ELEPHANT, SPECIES, Part, Species
from course_utils.datasets.worn import BELOW_THE_HEAD, IN_FRONT, wear

CHUNK = 16  # pictures of 128 px that are drawn together

FUR = torch.tensor(
    [
        [0.50, 0.31, 0.18],  # brown
        [0.86, 0.57, 0.20],  # golden
        [0.93, 0.91, 0.87],  # white
        [0.57, 0.57, 0.58],  # grey
        [0.96, 0.64, 0.76],  # pink
        [0.36, 0.55, 0.85],  # blue
    ]
)
CLOTH = torch.tensor([[0.86, 0.10, 0.10], [0.05, 0.58, 0.20], [1.00, 0.88, 0.08], [0.56, 0.18, 0.76]])
CREAM, PINK, TONGUE, INK, WHITE = torch.tensor(
    [[0.98, 0.93, 0.84], [0.95, 0.60, 0.62], [0.96, 0.46, 0.52], [0.13, 0.09, 0.09], [0.99, 0.98, 0.95]]
)
FURRY = ("fur", "dark", "pale", "inner")  # coats that are fur; the others are felt, thread or plastic


def _coats(fur: Tensor) -> dict[str, Tensor]:
    """The colours of an animal's parts by name, (N, 3) each, for the colour of its fur (N, 3)."""

    def mix(share: float, other: Tensor) -> Tensor:
        return fur + share * (other - fur)

    plain = {"pink": PINK, "tongue": TONGUE, "mouth": 0.6 * TONGUE, "nose": INK, "white": WHITE}
    return {name: colour.expand_as(fur) for name, colour in plain.items()} | {
        "fur": fur,
        "dark": mix(0.42, INK),
        "pale": mix(0.60, CREAM),
        "trunk": mix(0.16, CREAM),
        "nail": mix(0.75, CREAM),
        "inner": mix(0.70, PINK),
        "pad": mix(0.55, PINK),
        "skin": mix(0.75, PINK),
        "line": mix(0.75, INK),
    }


def _paint_parts(canvas: Canvas, pose: Pose, parts: tuple[Part, ...], coats: dict[str, Tensor]) -> None:
    """Paint a table's parts in their order, on both sides where the joint or the part is there twice."""
    for part in parts:
        fur = ("patch" if part.patch else "part") if part.coat in FURRY else "none"
        if part.both:
            axis = pose.head.at(pose.turn * part.depth, 0.0) if part.joint == "head" else pose.torso
            canvas.paint(axis, part.shape, part.sizes, coats[part.coat], fur, pair=(*part.at, part.turn))
            continue
        for joints in pose.sides[: 2 if part.joint in ("ear", "arm", "leg") else 1]:
            joint = pose.tail if part.joint == "tail" else joints[part.joint]
            x = part.at[0] + joint.flip * pose.turn * part.depth
            canvas.paint(joint.at(x, part.at[1], part.turn), part.shape, part.sizes, coats[part.coat], fur)


def _face(canvas: Canvas, pose: Pose, species: Species, coats: dict[str, Tensor]) -> None:
    """Eyes that look somewhere, brows, blush, a mouth, whiskers. All but the blush comes in mirrored pairs."""

    def dot(axis: Frame, radius: float, coat: str) -> None:
        sizes = {"rx": radius, "ry": 1.07 * radius}
        canvas.paint(axis, "ellipse", sizes, coats[coat], relief=0.0, pair=(x, y, 0.0))

    def stroke(axis: Frame, at: tuple[float, float, float], length: float, thick: float, bend: float | Tensor) -> None:
        sizes = {"length": length, "start": thick, "end": 0.8 * thick, "bend": bend}
        canvas.paint(axis, "limb", sizes, coats["line"], relief=0.0, pair=at)

    x, y, r = species.eyes
    front = pose.head.at(pose.turn * 0.05, 0.0)
    look = front.at(pose.gaze[0] * 0.30 * r, pose.gaze[1] * 0.20 * r)
    dot(front, 1.20 * r, "line")
    dot(front, 1.06 * r, "white")
    dot(look, 0.86 * r, "nose")
    dot(look.at(-0.30 * r, -0.34 * r), 0.28 * r, "white")
    brow = (x - 0.6 * r, y - 1.85 * r, -QUARTER)
    stroke(front.at(0.0, 0.02 * pose.brow), brow, 1.2 * r, 0.014, 0.02 + 0.01 * pose.brow)
    for side in (-1, 1):
        canvas.tinge(front.at(side * (x + 0.11), y + 0.19), 0.14, 0.11, BLUSH, on_fur=True)
    if species.mouth is not None:
        y, width = species.mouth
        lips = pose.head.at(pose.turn * 0.07, 0.0)
        tongue = {"rx": 0.07, "ry": 0.07, "egg": -0.3}
        canvas.paint(lips.at(0.0, y + 0.025, 0.0, pose.laugh), "ellipse", tongue, coats["mouth"], relief=0.0)
        stroke(lips, (0.0, y, -QUARTER), width, 0.015, -0.05 * pose.smile)
    if species.whiskers is not None:
        x, y, length = species.whiskers
        for k in (-1, 0, 1):
            at = (x, y + 0.045 * k, 0.20 * k - 1.5)
            stroke(pose.head.at(pose.turn * 0.06, 0.0), at, length, 0.008, 0.0)


def _trunk(canvas: Canvas, pose: Pose, coats: dict[str, Tensor]) -> None:
    """An elephant's trunk in front of its belly, its end curled up to one side; and two tusks."""
    tusk = {"length": 0.17, "start": 0.042, "end": 0.02}
    canvas.paint(pose.head.at(pose.turn * 0.05, 0.0), "limb", tusk, coats["white"], pair=(0.13, -0.20, -0.35))
    away = -pose.side
    root = pose.head._replace(flip=away).at(away * pose.turn * 0.06, -0.36, -0.22 - 0.25 * pose.swing)
    upper = {"length": 0.58, "start": 0.17, "end": 0.10, "bend": -0.06}
    curl = {"length": 0.20, "start": 0.10, "end": 0.09, "bend": 0.04}
    canvas.paint(root.at(0.0, upper["length"], -1.9), "limb", curl, coats["trunk"], "part")
    canvas.paint(root, "limb", upper, coats["trunk"], "part")
    for k in range(5):
        fold = {"length": 0.16 - 0.012 * k, "start": 0.012, "end": 0.012, "bend": -0.02}
        at = root.at(-0.10 + 0.010 * k, 0.14 + 0.10 * k, -QUARTER)
        canvas.paint(at, "limb", fold, coats["dark"], "patch", relief=0.0)


def _animal(canvas: Canvas, species: Species, a: Tensor, draws: Draws) -> None:
    """Paint the animals of one species with what they wear, from back to front."""
    pose = Pose(species, draws)
    coats = _coats((FUR[a[:, 1]] + draws.tint()).float().clamp(0.0, 0.95))
    cloth = (CLOTH[a[:, 3].clamp(min=0)] + 0.5 * draws.tint()).float().clamp(0.0, 1.0)

    canvas.tinge(pose.ground.at(0.06, 0.0), 0.80, 0.15, 0.55 * SHADE)
    _paint_parts(canvas, pose, species.body, coats)
    canvas.tinge(pose.head.at(0.03, 0.08), 0.50, 0.34, 0.40 * SHADE, on_fur=True)
    _paint_parts(canvas, pose, species.arms, coats)
    wear(BELOW_THE_HEAD, canvas, pose, species, a[:, 2], cloth)
    _paint_parts(canvas, pose, species.head, coats)
    _face(canvas, pose, species, coats)
    if species is ELEPHANT:
        _trunk(canvas, pose, coats)
    wear(IN_FRONT, canvas, pose, species, a[:, 2], cloth)


@torch.no_grad()
def _draw(a: Tensor, seeds: Tensor, fur_seeds: Tensor, size: int) -> Tensor:
    """(N, 6) attributes of one species, (N,) seeds of all but the fur, (N,) of the fur → (N, 3, size, size) uint8."""
    noise = hair.clumps(hair.white_noise(fur_seeds, 10))
    fuzz = hair.FUZZ * hair.resized(noise, size)
    canvas = Canvas(backdrop(a, Draws(seeds, 1), size), fuzz)
    _animal(canvas, SPECIES[int(a[0, 0])], a, Draws(seeds, 0))
    flow = torch.stack([hair.resized(f, hair.GRID) for f in canvas.flow.unbind(1)], dim=1)
    strands = hair.resized(hair.strands(noise, flow), size)[:, None]
    image = canvas.rgb + hair.STRENGTH * canvas.furry * strands
    return (image.clamp(0.0, 1.0) * 255.0 + 0.5).to(torch.uint8)


def render(attributes: Tensor, seeds: Tensor, size: int = 128, fur_seeds: Tensor | None = None) -> Tensor:
    """Draw plushies: (N, 6) attributes and (N,) integer seeds → (N, 3, size, size) uint8.

    The same attributes and seed give the same plushie at every size (32, 64, 128 or 256). With `fur_seeds` (N,),
    the fur follows these and all else still follows `seeds`: the same plushie in other fur.
    """
    a, seeds, size, fur_seeds = checked(attributes, seeds, size, fur_seeds)
    out = torch.empty(len(a), 3, size, size, dtype=torch.uint8)
    chunk = max(1, min(64, CHUNK * 128 * 128 // size**2))
    # Drawn together are rows of one species that stand at much the same place, few enough for the processor's cache:
    # each of their parts then fits a small window of the picture. Within a chunk those who wear the same come together.
    place = uniform(seeds, 0, 1)[:, 0].argsort(stable=True)
    chunks = [rows for k in range(len(SPECIES)) for rows in place[a[place, 0] == k].split(chunk) if len(rows)]
    jobs = [rows[a[rows, 2].argsort(stable=True)] for rows in chunks]

    def draw(rows: Tensor) -> None:
        out[rows] = _draw(a[rows], seeds[rows], fur_seeds[rows], size)

    each_on_a_core(draw, jobs)
    return out
