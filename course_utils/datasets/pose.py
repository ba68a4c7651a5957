"""How a plushie sits: the skeleton of its species, bent by what captions leave open."""

from __future__ import annotations

from copy import copy

import torch

from course_utils.datasets.seeds import Draws
from course_utils.datasets.shapes import Frame
from course_utils.datasets.species import Species


class Pose:
    """Where an animal's joints are in each of N pictures: its place, its size, and what captions leave open."""

    def __init__(self, species: Species, draws: Draws):
        between = draws.between
        x = between(-0.15, 0.15)  # the first number drawn: `render` sorts by it
        one = torch.ones_like(x)
        self.ground = Frame(x, between(0.76, 0.90), one, 0.0 * one, species.scale * between(0.82, 1.0), one)
        self.body = self.ground.at(0.0, 0.0, between(-0.10, 0.10))
        self.torso = self.body.at(0.0, 0.0, 0.0, between(0.91, 1.08))
        nod, tilt = between(-0.03, 0.04), between(-0.28, 0.28)
        self.head = self.body.at(species.neck[0], species.neck[1] + nod, tilt, between(0.94, 1.06))
        self.turn = between(-1.7, 1.7)
        self.gaze = (between(-1.0, 1.0), between(-1.0, 1.0))
        self.smile, self.brow = between(0.1, 1.1), between(-1.0, 1.0)
        self.laugh = between(-0.8, 1.0).clamp(min=0.05)
        # The side on which the tail shows and a scarf hangs down: mostly where there is more room. A trunk swings
        # to the other.
        self.side = torch.where(between(-0.08, 0.08) > x, 1.0, -1.0).double()
        self.swing = between(0.0, 1.0)
        # Which arms wave: none, one or the other, or both, equally often.
        which, lift = between(0.0, 4.0), between(-0.40, 0.30)
        raised = (which >= 1) & (which < 3), which >= 2
        ear_scale, splay, spread, wag = (
            between(0.92, 1.08),
            between(-0.1, 0.1),
            between(-0.03, 0.06),
            between(-0.25, 0.25),
        )
        self.sides = []
        for side, up in zip((self.body, self.body.mirrored()), raised, strict=True):
            head = self.head._replace(flip=side.flip)
            joints = {"body": self.torso, "head": head}
            ear_x, ear_y, ear_out = species.ear
            joints["ear"] = head.at(ear_x, ear_y, ear_out + splay + between(-0.08, 0.08), ear_scale)
            arm_x, arm_y, aside = species.arm
            hang, wave = species.swing
            arm_out = torch.where(up, wave + lift, hang + min(hang, 0.3) * between(-1.0, 1.0))
            joints["arm"] = side.at(arm_x + aside * up, arm_y, -arm_out)
            joints["leg"] = side.at(species.leg[0] + spread, species.leg[1])
            self.sides.append(joints)
        tail_x, tail_y, tail_out = species.tail
        self.tail = self.body._replace(flip=self.side).at(tail_x, tail_y, -(tail_out + wag))

    def of(self, rows: slice) -> Pose:
        """The same poses, of some rows only."""
        part = copy(self)
        part.body, part.head = self.body.of(rows), self.head.of(rows)
        part.turn, part.side = self.turn[rows], self.side[rows]
        part.sides = [{name: frame.of(rows) for name, frame in joints.items()} for joints in self.sides]
        return part
