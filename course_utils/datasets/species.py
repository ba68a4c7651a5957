"""How the six species are built: tables of parts that hang on a skeleton.

Lengths are in units of the animal, which is about 1.6 units tall; its feet stand at y = 0 and y points down, so that
the head is at negative y. Every part hangs on a joint: "body"; "head", at the neck; "ear", "arm" and "leg", which
are there on both sides; "tail". Parts are painted in the order of the table, so what comes later lies in front.
"""

from __future__ import annotations

from typing import NamedTuple

from course_utils.datasets.shapes import Sizes


class Part(NamedTuple):
    """One part. at: where its frame lies on the joint; turn: by how much it is turned, clockwise, in radians.

    depth: how far it stands out of a head, so how far it moves sideways when the head turns. both: also mirrored.
    """

    joint: str
    shape: str
    at: tuple[float, float]
    sizes: Sizes
    coat: str
    turn: float = 0.0
    depth: float = 0.0
    both: bool = False
    patch: bool = False  # fur of another colour on the part before, not a part of its own


class Species(NamedTuple):
    """A skeleton, the parts that hang on it, and where the face is. Angles are outward, in radians."""

    cheek: float  # half the width of the head at the eyes
    scale: float
    neck: tuple[float, float]
    ear: tuple[float, float, float]  # x, y on the head, angle
    arm: tuple[float, float, float]  # x, y, how much further out it starts when it waves
    leg: tuple[float, float]
    tail: tuple[float, float, float]  # x, y, angle
    swing: tuple[float, float]  # the angle of an arm that hangs, and of one that waves
    body: tuple[Part, ...]
    arms: tuple[Part, ...]
    head: tuple[Part, ...]
    eyes: tuple[float, float, float]  # x, y, radius
    mouth: tuple[float, float] | None  # y, width
    whiskers: tuple[float, float, float] | None  # x, y, length
    hat: tuple[float, float]  # y of the brim and half its width
    collar: tuple[float, float]  # half the width of the neck, and its y
    aside: float = 0.0  # how far a bow tie sits from the middle, away from a trunk


def round_(rx: float, ry: float, egg: float = 0.0) -> Sizes:
    return {"rx": rx, "ry": ry, "egg": egg}


def long_(length: float, start: float, end: float, bend: float = 0.0) -> Sizes:
    return {"length": length, "start": start, "end": end, "bend": bend}


BEAR = Species(
    cheek=0.46, scale=0.92, neck=(0.0, -0.80), ear=(0.35, -0.66, 0.0), arm=(0.31, -0.68, 0.0), leg=(0.27, -0.17),
    tail=(0.0, 0.0, 0.0), swing=(0.55, 2.3),
    body=(
        Part("body", "ellipse", (0, -0.44), round_(0.42, 0.45, 0.12), "fur"),
        Part("body", "ellipse", (0, -0.40), round_(0.26, 0.29, 0.10), "pale", patch=True),
        Part("leg", "ellipse", (0, 0), round_(0.19, 0.19), "fur"),
        Part("leg", "ellipse", (0, 0.03), round_(0.105, 0.10), "pad"),
        Part("leg", "ellipse", (-0.085, -0.09), round_(0.036, 0.036), "pad"),
        Part("leg", "ellipse", (0.0, -0.125), round_(0.036, 0.036), "pad"),
        Part("leg", "ellipse", (0.085, -0.09), round_(0.036, 0.036), "pad"),
    ),
    arms=(Part("arm", "limb", (0, 0), long_(0.34, 0.13, 0.125), "fur"),),
    head=(
        Part("ear", "ellipse", (0, -0.03), round_(0.17, 0.17), "fur", depth=-0.04),
        Part("ear", "ellipse", (0, -0.01), round_(0.10, 0.10), "inner", depth=-0.03, patch=True),
        Part("head", "ellipse", (0, -0.38), round_(0.47, 0.41, 0.10), "fur"),
        Part("head", "ellipse", (0, -0.24), round_(0.215, 0.165), "pale", depth=0.07),
        Part("head", "ellipse", (0, -0.325), round_(0.085, 0.06, -0.2), "nose", depth=0.09),
    ),
    eyes=(0.185, -0.43, 0.072), mouth=(-0.23, 0.10), whiskers=None, hat=(-0.70, 0.36), collar=(0.32, -0.80),
)  # fmt: skip

CAT = Species(
    cheek=0.47, scale=0.92, neck=(0.0, -0.82), ear=(0.27, -0.60, 0.28), arm=(0.125, -0.56, 0.12), leg=(0.27, -0.17),
    tail=(0.26, -0.12, 2.1), swing=(0.02, 2.2),
    body=(
        Part("tail", "limb", (0, 0), long_(0.78, 0.08, 0.065, -0.17), "fur"),
        Part("body", "ellipse", (0, -0.44), round_(0.34, 0.44, 0.18), "fur"),
        Part("leg", "ellipse", (0, 0), round_(0.17, 0.19, 0.1), "fur"),
        Part("leg", "ellipse", (0.03, 0.12), round_(0.15, 0.085), "fur"),
        Part("body", "ellipse", (0, -0.58), round_(0.18, 0.20), "pale", patch=True),
    ),
    arms=(Part("arm", "limb", (0, 0), long_(0.46, 0.10, 0.10), "fur"),),
    head=(
        Part("ear", "limb", (0, 0), long_(-0.32, 0.19, 0.03), "fur", depth=-0.04),
        Part("ear", "limb", (0, 0), long_(-0.27, 0.12, 0.02), "inner", depth=-0.03, patch=True),
        Part("head", "ellipse", (0, -0.36), round_(0.48, 0.37, 0.14), "fur"),
        Part("head", "limb", (0.0, -0.70), long_(0.14, 0.028, 0.02), "dark", depth=0.03, patch=True),
        Part("head", "limb", (0.11, -0.68), long_(0.11, 0.026, 0.018), "dark", depth=0.03, both=True, patch=True),
        Part("head", "ellipse", (0.085, -0.215), round_(0.115, 0.09), "pale", depth=0.06, both=True),
        Part("head", "ellipse", (0, -0.28), round_(0.055, 0.04, -0.4), "pink", depth=0.08),
    ),
    eyes=(0.20, -0.40, 0.085), mouth=(-0.22, 0.09), whiskers=(0.16, -0.22, 0.40), hat=(-0.67, 0.29), collar=(0.26, -0.80),
)  # fmt: skip

RABBIT = Species(
    cheek=0.4, scale=0.81, neck=(0.0, -0.80), ear=(0.17, -0.62, 0.30), arm=(0.26, -0.64, 0.0), leg=(0.25, -0.09),
    tail=(0.33, -0.22, 0.0), swing=(0.35, 2.5),
    body=(
        Part("tail", "ellipse", (0, 0), round_(0.13, 0.13), "pale"),
        Part("body", "ellipse", (0, -0.44), round_(0.34, 0.46, 0.18), "fur"),
        Part("body", "ellipse", (0, -0.40), round_(0.20, 0.30, 0.18), "pale", patch=True),
        Part("leg", "ellipse", (0, 0), round_(0.23, 0.115), "fur", turn=0.15),
    ),
    arms=(Part("arm", "limb", (0, 0), long_(0.30, 0.10, 0.095), "fur"),),
    head=(
        Part("ear", "limb", (0, 0), long_(-0.60, 0.10, 0.115), "fur", depth=-0.03),
        Part("ear", "limb", (0, -0.06), long_(-0.52, 0.045, 0.06), "inner", depth=-0.02, patch=True),
        Part("head", "ellipse", (0, -0.36), round_(0.41, 0.38, 0.14), "fur"),
        Part("head", "ellipse", (0.09, -0.205), round_(0.13, 0.105), "pale", depth=0.06, both=True),
        Part("head", "box", (0, -0.115), {"rx": 0.055, "ry": 0.06}, "white", depth=0.07),
        Part("head", "ellipse", (0, -0.275), round_(0.055, 0.04, -0.4), "pink", depth=0.08),
    ),
    eyes=(0.185, -0.42, 0.08), mouth=(-0.20, 0.09), whiskers=None, hat=(-0.67, 0.26), collar=(0.25, -0.78),
)  # fmt: skip

MOUSE = Species(
    cheek=0.33, scale=0.95, neck=(0.0, -0.66), ear=(0.40, -0.60, 0.0), arm=(0.20, -0.54, 0.0), leg=(0.20, -0.06),
    tail=(0.20, -0.10, 1.7), swing=(0.5, 2.3),
    body=(
        Part("tail", "limb", (0, 0), long_(0.80, 0.045, 0.02, 0.22), "skin"),
        Part("body", "ellipse", (0, -0.34), round_(0.31, 0.36, 0.22), "fur"),
        Part("body", "ellipse", (0, -0.30), round_(0.19, 0.24, 0.2), "pale", patch=True),
        Part("leg", "ellipse", (0.02, 0), round_(0.16, 0.075), "skin"),
    ),
    arms=(
        Part("arm", "limb", (0, 0), long_(0.24, 0.075, 0.06), "fur"),
        Part("arm", "ellipse", (0, 0.27), round_(0.06, 0.06), "skin"),
    ),
    head=(
        Part("ear", "ellipse", (0, 0), round_(0.32, 0.32), "fur", depth=-0.06),
        Part("ear", "ellipse", (0, 0.01), round_(0.22, 0.22), "inner", depth=-0.05, patch=True),
        Part("head", "limb", (0, -0.42), long_(0.34, 0.34, 0.10), "fur"),
        Part("head", "ellipse", (0, -0.13), round_(0.15, 0.13), "pale", depth=0.06),
        Part("head", "ellipse", (0, -0.06), round_(0.075, 0.065), "pink", depth=0.12),
    ),
    eyes=(0.155, -0.37, 0.065), mouth=None, whiskers=(0.08, -0.08, 0.28), hat=(-0.63, 0.27), collar=(0.22, -0.60),
)  # fmt: skip

DOG = Species(
    cheek=0.42, scale=0.89, neck=(0.0, -0.82), ear=(0.34, -0.68, -0.30), arm=(0.17, -0.58, 0.12), leg=(0.31, -0.14),
    tail=(0.30, -0.16, 2.3), swing=(0.05, 2.1),
    body=(
        Part("tail", "limb", (0, 0), long_(0.44, 0.09, 0.05, -0.07), "fur"),
        Part("body", "ellipse", (0, -0.44), round_(0.37, 0.44, 0.10), "fur"),
        Part("leg", "ellipse", (0, 0), round_(0.16, 0.16), "fur"),
        Part("leg", "ellipse", (0.05, 0.08), round_(0.17, 0.09), "fur"),
        Part("body", "ellipse", (0, -0.50), round_(0.20, 0.28), "pale", patch=True),
    ),
    arms=(
        Part("arm", "limb", (0, 0), long_(0.46, 0.115, 0.12), "fur"),
        Part("arm", "ellipse", (0, 0.49), round_(0.13, 0.085), "pale"),
    ),
    head=(
        Part("head", "ellipse", (0, -0.40), round_(0.43, 0.40), "fur"),
        Part("head", "ellipse", (0.19, -0.44), round_(0.15, 0.17), "dark", depth=0.04, patch=True),
        Part("ear", "limb", (0, 0), long_(0.42, 0.10, 0.16), "dark", depth=-0.02),
        Part("head", "ellipse", (0, -0.05), round_(0.08, 0.14), "tongue", depth=0.07),
        Part("head", "ellipse", (0, -0.23), round_(0.25, 0.19, 0.15), "pale", depth=0.07),
        Part("head", "ellipse", (0, -0.335), round_(0.105, 0.075, -0.2), "nose", depth=0.10),
    ),
    eyes=(0.185, -0.48, 0.072), mouth=(-0.21, 0.14), whiskers=None, hat=(-0.72, 0.33), collar=(0.29, -0.80),
)  # fmt: skip

ELEPHANT = Species(
    cheek=0.39, scale=0.87, neck=(0.0, -0.80), ear=(0.36, -0.44, 0.0), arm=(0.38, -0.62, 0.0), leg=(0.27, -0.19),
    tail=(0.0, 0.0, 0.0), swing=(0.40, 2.0),
    body=(
        Part("body", "ellipse", (0, -0.45), round_(0.49, 0.46, 0.10), "fur"),
        Part("leg", "ellipse", (0, 0), round_(0.21, 0.21), "fur"),
        Part("leg", "ellipse", (-0.11, -0.02), round_(0.05, 0.06), "nail"),
        Part("leg", "ellipse", (0.0, -0.06), round_(0.05, 0.06), "nail"),
        Part("leg", "ellipse", (0.11, -0.02), round_(0.05, 0.06), "nail"),
    ),
    arms=(
        Part("arm", "limb", (0, 0), long_(0.32, 0.15, 0.15), "fur"),
        Part("arm", "ellipse", (-0.07, 0.40), round_(0.045, 0.045), "nail"),
        Part("arm", "ellipse", (0.05, 0.41), round_(0.045, 0.045), "nail"),
    ),
    head=(
        Part("ear", "ellipse", (0.24, 0), round_(0.36, 0.42), "fur", depth=-0.05),
        Part("ear", "ellipse", (0.25, 0.02), round_(0.25, 0.31), "inner", depth=-0.05, patch=True),
        Part("head", "ellipse", (0, -0.40), round_(0.40, 0.40), "fur"),
    ),
    eyes=(0.19, -0.48, 0.065), mouth=None, whiskers=None, hat=(-0.73, 0.33), collar=(0.34, -0.80), aside=0.15,
)  # fmt: skip

SPECIES = (BEAR, CAT, RABBIT, MOUSE, DOG, ELEPHANT)
