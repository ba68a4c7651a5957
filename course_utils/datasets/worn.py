"""What a plushie wears: a hat, a scarf, a bow tie or glasses, fitted to its species."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from course_utils.datasets.attributes import ATTRIBUTES
from course_utils.datasets.pose import Pose
from course_utils.datasets.shapes import QUARTER, Canvas
from course_utils.datasets.species import Species

_, HAT, SCARF, BOWTIE, GLASSES = range(len(ATTRIBUTES["accessory"]))


def _hat(canvas: Canvas, pose: Pose, species: Species, cloth: Tensor) -> None:
    """A crown with a dark band, and a brim below."""
    y, half = species.hat
    brim = pose.head.at(0.0, y)
    crown = {"rx": 0.66 * half, "ry": 0.21, "flare": -0.06, "corner": 0.05}
    band = {"rx": 0.64 * half, "ry": 0.05, "flare": 0.0, "corner": 0.01}
    canvas.paint(brim.at(0.0, -0.20), "box", crown, cloth)
    canvas.paint(brim.at(0.0, -0.055), "box", band, 0.42 * cloth, relief=0.6)
    canvas.paint(brim, "ellipse", {"rx": half, "ry": 0.075}, cloth)


def _scarf(canvas: Canvas, pose: Pose, species: Species, cloth: Tensor) -> None:
    """A tube round the neck with knitted ribs, a knot, and an end that hangs down, with stripes and a fringe."""
    half, y = species.collar
    light = cloth + 0.35 * (1.0 - cloth)
    neck = pose.body.at(0.0, y + 0.02)
    canvas.paint(neck, "ellipse", {"rx": half + 0.06, "ry": 0.17}, cloth)
    for k in range(-2, 3):
        x = 0.4 * half * k
        rib = neck.at(x, 0.15 - 0.25 * x * x, 0.4 * x)
        canvas.paint(rib, "limb", {"length": -0.18, "start": 0.014, "end": 0.014}, light, relief=0.0)

    knot = pose.body._replace(flip=pose.side).at(0.45 * half, y + 0.13, -0.12)
    for k in range(4):
        fringe = {"length": 0.07, "start": 0.018, "end": 0.014}
        canvas.paint(knot.at(-0.085 + 0.057 * k, 0.40), "limb", fringe, cloth)
    canvas.paint(knot.at(0.0, 0.20), "box", {"rx": 0.105, "ry": 0.22, "flare": 0.08, "corner": 0.02}, cloth)
    for y in (0.14, 0.24, 0.34):
        stripe = {"rx": 0.10, "ry": 0.018, "flare": 0.0, "corner": 0.005}
        canvas.paint(knot.at(0.0, y), "box", stripe, light, relief=0.5)
    canvas.paint(knot, "ellipse", {"rx": 0.11, "ry": 0.09}, cloth)


def _bowtie(canvas: Canvas, pose: Pose, species: Species, cloth: Tensor) -> None:
    """Two wings with a crease, and a knot."""
    middle = pose.body.at(pose.side * species.aside, species.collar[1] + 0.10)
    wing, crease = {"length": 0.17, "start": 0.045, "end": 0.12}, {"length": 0.09, "start": 0.02, "end": 0.008}
    for side in (middle, middle.mirrored()):
        canvas.paint(side.at(0.03, 0.0, -QUARTER), "limb", wing, cloth)
        canvas.paint(side.at(0.05, 0.0, -QUARTER), "limb", crease, 0.6 * cloth, relief=0.0)
    canvas.paint(middle, "ellipse", {"rx": 0.06, "ry": 0.07}, cloth)


def _glasses(canvas: Canvas, pose: Pose, species: Species, cloth: Tensor) -> None:
    """Thin frames, lenses that are all but clear, a bridge, and temples that reach to the ears."""
    x, y, r = species.eyes
    lens = r + 0.085
    front = pose.head.at(0.05 * pose.turn, 0.0)
    rim = {"rx": lens, "ry": lens}
    temple = {"length": max(0.04, species.cheek - x - lens), "start": 0.020, "end": 0.020}
    bridge = {"length": max(0.04, 2 * (x - lens)), "start": 0.024, "end": 0.024}
    canvas.paint(front, "ellipse", rim, torch.ones_like(cloth), relief=0.0, opacity=0.10, pair=(x, y, 0.0))
    canvas.paint(front, "limb", temple, cloth, relief=0.3, pair=(x + lens, y - 0.02, -QUARTER - 0.1))
    canvas.paint(front, "ring", rim | {"width": 0.023}, cloth, relief=0.3, pair=(x, y, 0.0))
    canvas.paint(front.at(-0.5 * bridge["length"], y - 0.02, -QUARTER), "limb", bridge, cloth, relief=0.3)


Piece = Callable[[Canvas, Pose, Species, Tensor], None]
BELOW_THE_HEAD: dict[int, Piece] = {SCARF: _scarf}
IN_FRONT: dict[int, Piece] = {HAT: _hat, BOWTIE: _bowtie, GLASSES: _glasses}


def wear(
    pieces: dict[int, Piece], canvas: Canvas, pose: Pose, species: Species, accessory: Tensor, cloth: Tensor
) -> None:
    """Paint those of the pieces that are worn, in `cloth` (N, 3). Rows must be sorted by `accessory` (N,)."""
    for kind, paint in pieces.items():
        rows = slice(int((accessory < kind).sum()), int((accessory <= kind).sum()))
        if rows.start < rows.stop:
            paint(canvas.of(rows), pose.of(rows), species, cloth[rows])
