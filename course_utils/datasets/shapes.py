"""Frames, signed distances and a canvas: what a plushie is drawn with.

A `Frame` is a place in the picture with a direction and a scale, one for each row of a batch. Frames hang on
frames, as a hand hangs on an arm: turn the arm and the hand comes along. A shape gives the signed distance to its
edge (negative inside), and `Canvas` paints where that distance is negative, softening the edge over a pixel.

Positions in the picture run over [-1, 1], x to the right and y down; colours over [0, 1].

Equal seeds must give equal bytes in every batch. So what is computed for a row (angles, places) is computed in double
precision and rounded once, and pixels are computed with +, -, *, / and square roots alone, which every processor
rounds alike (sines, `lerp` and fused multiply-adds are not: their last bit depends on a pixel's place in memory).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import copy
from types import EllipsisType
from typing import Any, NamedTuple

import torch
from torch import Tensor

Sizes = Mapping[str, Any]  # a shape's sizes by name: numbers, but `bend` may be a tensor, one number for each row
Window = tuple[EllipsisType, slice, slice]  # rows and columns of pixels

LIGHT = (-0.62, -0.78)  # where light comes from: the upper left, as a direction in the picture
SHADE = torch.tensor([0.92, 1.06, 0.98]).view(1, 3, 1, 1)  # a warm shadow, at full strength
QUARTER = math.pi / 2  # a quarter of a turn
SHADE_REACH = 0.06  # how far from a furry part its shade on the fur below reaches, in units of its frame
BLUSH = torch.tensor([0.0, 0.20, 0.15]).view(1, 3, 1, 1)


class Frame(NamedTuple):
    """A coordinate system in the picture for each of N rows: six (N,) float64 tensors.

    Its x axis points along (cos, sin), a clockwise turn; `flip` is -1 where x runs the other way, as on an animal's
    other side.
    """

    x: Tensor
    y: Tensor
    cos: Tensor
    sin: Tensor
    scale: Tensor
    flip: Tensor

    def at(
        self, x: Tensor | float, y: Tensor | float, turn: Tensor | float = 0.0, scale: Tensor | float = 1.0
    ) -> Frame:
        """A frame that hangs on this one at (x, y), turned and scaled; a turn bends the same way on both sides."""
        x, y, cos, sin = self.scale * self.flip * x, self.scale * y, self.cos, self.sin
        place = self.x + cos * x - sin * y, self.y + sin * x + cos * y
        if isinstance(turn, Tensor) or turn:
            a, b = (self.flip * turn).cos(), (self.flip * turn).sin()
            cos, sin = cos * a - sin * b, sin * a + cos * b
        return Frame(*place, cos, sin, self.scale * scale, self.flip)

    def of(self, rows: slice) -> Frame:
        return Frame(*(value[rows] for value in self))

    def mirrored(self) -> Frame:
        return self._replace(flip=-self.flip)


class Shape(NamedTuple):
    """A shape over a window of the picture: four (N, h, w) tensors, lengths in units of its frame.

    (across, along) is where a point lies between the middle, 0, and the edge, where its length is 1: for a
    cushion lit from the side it is also the direction in which the surface looks. `bulge` is its squared length.
    """

    distance: Tensor
    across: Tensor
    along: Tensor
    bulge: Tensor


def ellipse(x: Tensor, y: Tensor, rx: float, ry: float, egg: float = 0.0) -> Shape:
    """Radii rx, ry; with `egg` > 0 it is wider below its middle (y > 0), with `egg` < 0 above."""
    u, v = x / rx, y / ry
    if egg:
        u = u / (1.0 + egg * v.clamp(-1.3, 1.3))
    u2, v2 = u * u, v * v
    bulge = u2 + v2
    norm = bulge.sqrt()
    if max(rx, ry) < 1.35 * min(rx, ry):
        return Shape((norm - 1.0) * math.sqrt(rx * ry), u, v, bulge)
    # The distance to first order; in the very middle, where the slope is 0, the longer radius.
    slope = (u2 / rx**2 + v2 / ry**2).sqrt().clamp(min=1e-3 / max(rx, ry))
    return Shape((norm - 1.0) * norm.clamp(min=1e-3) / slope, u, v, bulge)


def limb(x: Tensor, y: Tensor, length: float, start: float, end: float, bend: Tensor | float = 0.0) -> Shape:
    """A rounded limb from (0, 0) to (0, length), with radius `start` growing or shrinking to `end`.

    Its middle is moved sideways by `bend`, a number or one for each row.
    """
    t = y / length
    if isinstance(bend, Tensor):
        bend = bend.float()[:, None, None]
    if isinstance(bend, Tensor) or bend:
        x = x - (4.0 * bend) * (t * (1.0 - t)).clamp(-0.35, 1.0)
    t = t.clamp(0.0, 1.0)
    beyond = y - t * length
    radius = start + t * (end - start) if start != end else start
    x2, y2 = x * x, beyond * beyond
    distance = (x2 + y2).sqrt() - radius
    across, along = x / radius, beyond / radius
    return Shape(
        distance * (1.0 + ((end - start) / length) ** 2) ** -0.5, across, along, across * across + along * along
    )


def box(x: Tensor, y: Tensor, rx: float, ry: float, flare: float = 0.0, corner: float = 0.03) -> Shape:
    """A box of half width rx and half height ry with round corners, wider by the share `flare` at its foot."""
    u, v = x / rx, y / ry
    if flare:
        u = u / (1.0 + flare * v.clamp(-1.5, 1.5))
    dx, dy = u.abs() * rx - (rx - corner), y.abs() - (ry - corner)
    outside = (dx.clamp(min=0.0) ** 2 + dy.clamp(min=0.0) ** 2).sqrt()
    return Shape(outside + torch.maximum(dx, dy).clamp(max=0.0) - corner, u, v, u * u + v * v)


def ring(x: Tensor, y: Tensor, rx: float, ry: float, width: float) -> Shape:
    """The outline of an ellipse, `width` to either side."""
    whole = ellipse(x, y, rx, ry)
    return whole._replace(distance=whole.distance.abs() - width)


SHAPES: dict[str, Callable[..., Shape]] = {"ellipse": ellipse, "limb": limb, "box": box, "ring": ring}


def extent(shape: str, sizes: Sizes, margin: float) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of a shape in its own frame, with a margin around it."""
    if shape == "limb":
        thick, length, bend = margin + max(sizes["start"], sizes["end"]), sizes["length"], sizes.get("bend", 0.0)
        low, high = (float(bend.min()), float(bend.max())) if isinstance(bend, Tensor) else (bend, bend)
        return min(low, 0.0) - thick, max(high, 0.0) + thick, min(length, 0.0) - thick, max(length, 0.0) + thick
    margin += sizes.get("width", 0.0)
    wide = margin + sizes["rx"] * (1.0 + abs(sizes.get("egg", 0.0)) + abs(sizes.get("flare", 0.0)))
    high = margin + sizes["ry"]
    return -wide, wide, -high, high


class Canvas:
    """N pictures of size × size pixels: colour, where fur is, and which way it lies.

    rgb (N, 3, H, W) in [0, 1]; flow (N, 2, H, W), the direction of the fur; furry (N, 1, H, W), 1 where there is fur.
    fuzz (N, H, W) moves the edges of furry parts in and out, in units of the picture.
    """

    def __init__(self, rgb: Tensor, fuzz: Tensor):
        n, _, size, _ = rgb.shape
        self.rgb, self.fuzz, self.size = rgb, fuzz, size
        self.flow, self.furry = rgb.new_zeros(n, 2, size, size), rgb.new_zeros(n, 1, size, size)
        self.axis = (torch.arange(size, dtype=torch.float64) + 0.5) * (2.0 / size) - 1.0

    def of(self, rows: slice) -> Canvas:
        """Some of the pictures; what is painted there is painted here."""
        part = copy(self)
        part.rgb, part.flow, part.furry, part.fuzz = self.rgb[rows], self.flow[rows], self.furry[rows], self.fuzz[rows]
        return part

    def _window(self, frame: Frame, left: float, right: float, top: float, bottom: float) -> Window:
        """The pixels that may show a shape of this extent in any of the pictures."""
        c, s = frame.scale * frame.cos, frame.scale * frame.sin
        x, y = torch.tensor([[left], [right], [left], [right]]), torch.tensor([[top], [top], [bottom], [bottom]])
        xs, ys = frame.x + c * frame.flip * x - s * y, frame.y + s * frame.flip * x + c * y
        ends = torch.stack([ys.amin(), xs.amin(), ys.amax(), xs.amax()])
        y0, x0, y1, x1 = ((ends + 1.0) * (self.size / 2)).clamp(0, self.size).tolist()
        return ..., slice(max(0, int(y0) - 2), int(y1) + 3), slice(max(0, int(x0) - 2), int(x1) + 3)

    def _local(self, frame: Frame, window: Window) -> tuple[Tensor, Tensor]:
        """The frame's own x and y at each pixel of a window, (N, h, w) each."""
        c, s = (frame.cos / frame.scale)[:, None], (frame.sin / frame.scale)[:, None]
        down = self.axis[window[1]] - frame.y[:, None]
        right = self.axis[window[2]] - frame.x[:, None]
        flip = frame.flip[:, None]
        x = (flip * c * right).float()[:, None, :] + (flip * s * down).float()[:, :, None]
        y = (c * down).float()[:, :, None] - (s * right).float()[:, None, :]
        return x, y

    def paint(
        self,
        frame: Frame,
        shape: str,
        sizes: Sizes,
        colour: Tensor,
        fur: str = "none",
        relief: float = 1.0,
        opacity: float = 1.0,
        pair: tuple[float, float, float] | None = None,
    ) -> None:
        """Paint a shape in `colour` (N, 3), lit from the upper left.

        fur: "none"; "part" for a furry part of the body, which gets a fuzzy edge, shades the fur below it and says
        which way its fur lies (out from its middle, and down); "patch" for fur of another colour on a part.
        relief: how much light and shade there is, 0 for flat. pair: (x, y, turn) paints the shape twice, there
        and mirrored at the frame's y axis.
        """
        window, x, y, side = self._placed(frame, extent(shape, sizes, SHADE_REACH if fur == "part" else 0.02), pair)
        form = SHAPES[shape](x, y, **sizes)
        if side is not None:
            form = form._replace(across=torch.where(side, form.across, -form.across))
        scale = frame.scale.float()[:, None, None]
        distance = form.distance
        if fur == "part":
            self._shade_below(window, distance)
        if fur != "none":
            distance = distance + self.fuzz[window] / scale
        cover = (0.5 - distance * (scale * (0.5 * self.size))).clamp(0.0, 1.0)[:, None]
        if opacity < 1.0:
            cover = opacity * cover
        left_over = 1.0 - cover
        light = cover * (1.0 - relief * self._shadow(frame, form))[:, None] if relief else cover
        self._lay(self.rgb[window], left_over, light * colour.float()[:, :, None, None])
        if fur == "part":
            self._comb(window, frame, form, cover[:, 0], left_over[:, 0])
            self._lay(self.furry[window], left_over, cover)
        elif fur == "none":
            self.furry[window].mul_(left_over)

    def _placed(
        self, frame: Frame, extent: tuple[float, float, float, float], pair: tuple[float, float, float] | None
    ) -> tuple[Window, Tensor, Tensor, Tensor | None]:
        """The window of a shape, the shape's own x and y there, and where that is the right one of a pair."""
        left, right, top, bottom = extent
        if pair is None:
            window = self._window(frame, left, right, top, bottom)
            return window, *self._local(frame, window), None
        at_x, at_y, turn = pair
        c, s = math.cos(turn), math.sin(turn)
        far = at_x + max(c * x - s * y for x in (left, right) for y in (top, bottom))
        ys = [at_y + s * x + c * y for x in (left, right) for y in (top, bottom)]
        window = self._window(frame, -far, far, min(ys), max(ys))
        x, y = self._local(frame, window)
        side = x >= 0
        x, y = x.abs() - at_x, y - at_y
        if turn:
            x, y = c * x + s * y, c * y - s * x
        return window, x, y, side

    @staticmethod
    def _shadow(frame: Frame, form: Shape) -> Tensor:
        """How dark a cushion is at each pixel: towards its edge, and away from the light; below 0 is a highlight."""
        light_x = 0.20 * frame.flip * (frame.cos * LIGHT[0] + frame.sin * LIGHT[1])
        light_y = 0.20 * (frame.cos * LIGHT[1] - frame.sin * LIGHT[0])
        lit = form.across * light_x.float()[:, None, None] + form.along * light_y.float()[:, None, None]
        return (0.20 * form.bulge - lit - 0.03).clamp(-0.15, 0.45)

    def _comb(self, window: Window, frame: Frame, form: Shape, cover: Tensor, left_over: Tensor) -> None:
        """The fur of a part lies outward from its middle, and a little down."""
        c, s, flip = (value.float()[:, None, None] for value in (frame.cos, frame.sin, frame.flip))
        outward = form.across * (flip * c) - form.along * s, form.across * (flip * s) + form.along * c + 0.5
        for axis in (0, 1):
            self._lay(self.flow[:, axis][window], left_over, outward[axis] * cover)

    def tinge(self, frame: Frame, rx: float, ry: float, take: Tensor, on_fur: bool = False) -> None:
        """Take a share of each colour, `take` (1, 3, 1, 1), in a spot that fades out towards its edge.

        A shadow takes all alike, blush takes green and blue. on_fur: from fur alone.
        """
        window = self._window(frame, -rx, rx, -ry, ry)
        x, y = self._local(frame, window)
        fade = (1.0 - (x / rx) ** 2 - (y / ry) ** 2).clamp(min=0.0)[:, None]
        if on_fur:
            fade = fade * self.furry[window]
        self.rgb[window] *= 1.0 - take * fade

    def _shade_below(self, window: Window, distance: Tensor) -> None:
        """The shadow that a part casts on the fur around it, so that it stands out from fur of its own colour."""
        near = (0.36 - 6.0 * distance).clamp(0.0, 0.45)[:, None] * self.furry[window]
        self.rgb[window] *= 1.0 - near

    @staticmethod
    def _lay(below: Tensor, left_over: Tensor, above: Tensor) -> None:
        """What lies below shines through by `left_over`; `above` has been multiplied by its cover already."""
        below.mul_(left_over).add_(above)
