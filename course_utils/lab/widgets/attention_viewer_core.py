"""The attention viewer without widgets, for a text transformer and a vision transformer alike: a request in; the
weights of one token and a drawing of them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.evaluation.chunks import device_of
from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.drawing import readable, spotlight, stack
from course_utils.lab.widgets.latest import ShouldStop
from course_utils.models.attention_maps import attention_maps, rollout
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import ViT

PANEL, THUMB = 880, 132
BLUE, MARK = np.array([0x00, 0x72, 0xB2]), plots.COLOURS[1]
ALL_LAYERS, ALL_HEADS = 0, 0


@dataclass(frozen=True)
class AttentionRequest:
    """What to look at. Layers and heads count from 1; layer 0 is the rollout over all, head 0 the mean of all."""

    kind: str = "text"
    sentence: str = ""
    picture: int = 0
    layer: int = 1
    head: int = ALL_HEADS
    token: int = 0


@dataclass(frozen=True)
class AttentionResult:
    """The weights (L,) of the chosen token, the tokens' names, PNG bytes, and a line that says what is shown."""

    request: AttentionRequest
    weights: Tensor
    tokens: list[str]
    encoded: bytes
    label: str


class AttentionCore:
    """Attention of a text transformer over typed sentences, and of a vision transformer over `pictures` (N, 3, H, W)."""

    def __init__(self, text: TextTransformer, tokenizer: Tokenizer, vit: ViT, pictures: Tensor):
        if not len(check_pictures(pictures, "pictures")):
            raise ValueError("pictures: expected one or more, got none")
        self.text, self.tokenizer, self.vit, self.pictures = text, tokenizer, vit, pictures.cpu()
        self._last: tuple[tuple, tuple[Tensor, list[str]]] | None = None

    def layers(self, kind: str) -> int:
        return len((self.text if kind == "text" else self.vit).blocks)

    def heads(self, kind: str) -> int:
        return (self.text if kind == "text" else self.vit).blocks[0].attention.heads

    def maps(self, request: AttentionRequest) -> tuple[Tensor, list[str]]:
        """All weights (layers, heads, L, L) for a sentence or a picture, and the names of its L tokens."""
        key = request.kind, request.sentence if request.kind == "text" else request.picture
        last = self._last  # the widget asks from two threads
        if last is None or last[0] != key:
            last = self._last = key, self._look(request)
        return last[1]

    def _look(self, request: AttentionRequest) -> tuple[Tensor, list[str]]:
        if request.kind == "text":
            tokens = self.tokenizer(request.sentence)
            length = int((tokens[0] == self.tokenizer.end_id).int().argmax()) + 1
            tokens = tokens[:, :length]
            names = [readable(self.tokenizer.symbols[i]) for i in tokens[0].tolist()]
            return attention_maps(self.text, tokens.to(device_of(self.text)))[:, 0], names
        if request.kind != "picture":
            raise ValueError(f"kind: got {request.kind!r}; expected 'text' or 'picture'")
        if not 0 <= request.picture < len(self.pictures):
            raise ValueError(f"picture: got {request.picture}; expected 0 to {len(self.pictures) - 1}")
        x = self.pictures[request.picture : request.picture + 1]
        maps = attention_maps(self.vit, x.to(device_of(self.vit)))[:, 0]
        side = round((maps.shape[-1] - 1) ** 0.5)
        return maps, ["class", *(f"row {i // side}, column {i % side}" for i in range(side * side))]

    def compute(self, request: AttentionRequest, should_stop: ShouldStop = None) -> AttentionResult:
        """The weights of one token and their drawing. Quick, so `should_stop` is not asked."""
        maps, tokens = self.maps(request)
        layers, heads = maps.shape[:2]
        for name, value, high in (
            ("layer", request.layer, layers),
            ("head", request.head, heads),
            ("token", request.token, len(tokens) - 1),
        ):
            if not 0 <= value <= high:
                raise ValueError(f"{name}: got {value}; expected 0 to {high}")
        if request.layer == ALL_LAYERS:
            each, where = rollout(maps[:, None]), "all layers (rollout)"
        else:
            each, where = maps[request.layer - 1], f"layer {request.layer}"
            where += f", head {request.head}" if request.head else ", mean of heads"
        chosen = each[request.head - 1] if request.head and request.layer else each.mean(0)
        weights = chosen[request.token]
        best = int(weights.argmax())
        label = f"{where}: “{tokens[request.token]}” takes most from “{tokens[best]}” ({weights[best]:.0%})"
        draw = self._draw_text if request.kind == "text" else self._draw_picture
        encoded = plots.to_png(draw(request, each, weights, tokens))
        return AttentionResult(request, weights, tokens, encoded, label)

    def _draw_text(self, request: AttentionRequest, each: Tensor, weights: Tensor, tokens: list[str]) -> Image.Image:
        names = ["all"] if request.layer == ALL_LAYERS else [f"head {h + 1}" for h in range(len(each))]
        strip = _token_strip(tokens, weights, request.token)
        thumbs = plots.tile([_map_picture(m, request.token) for m in each], names, columns=len(each), scale=1, gap=14)
        return stack(
            strip,
            thumbs,
            _line("each map: rows take, columns give, in the order of the text; the frame is the chosen token"),
        )

    def _draw_picture(self, request: AttentionRequest, each: Tensor, weights: Tensor, tokens: list[str]) -> Image.Image:
        x = self.pictures[request.picture]
        rows = [x, spotlight(x, weights[1:]), *(spotlight(x, m[request.token, 1:]) for m in each)]
        names = ["picture", "chosen"]
        names += ["all"] if request.layer == ALL_LAYERS else [f"head {h + 1}" for h in range(len(each))]
        tiled = plots.tile(torch.stack(rows), names, columns=len(rows), scale=2, gap=8)
        if request.token:
            side = round((len(tokens) - 1) ** 0.5)
            cell = 2 * x.shape[-1] / side
            top, left = (cell * k for k in divmod(request.token - 1, side))
            ImageDraw.Draw(tiled).rectangle((left, top, left + cell - 1, top + cell - 1), outline=MARK, width=3)
        return tiled


def _shade(weight: float) -> tuple[int, int, int]:
    """White for 0, the course's blue for 1."""
    red, green, blue = (int(c) for c in np.rint(255 + weight**0.7 * (BLUE - 255)))
    return red, green, blue


def _token_strip(tokens: list[str], weights: Tensor, chosen: int) -> Image.Image:
    """Tokens as boxes, darker the more is taken from them, the percentage below; the chosen one is framed."""
    face, small = plots.font(14), plots.font(10)
    boxes, x, y = [], 2, 2
    for token in tokens:
        wide = int(face.getlength(token)) + 14
        if x + wide > PANEL:
            x, y = 2, y + 46
        boxes.append((x, y, wide))
        x += wide + 4
    canvas = Image.new("RGB", (PANEL, y + 46), plots.PAPER)
    pen = ImageDraw.Draw(canvas)
    for i, ((x, y, wide), token, weight) in enumerate(zip(boxes, tokens, weights.tolist(), strict=True)):
        outline = MARK if i == chosen else "#C8CCD2"
        box = (x, y, x + wide - 1, y + 26)
        pen.rounded_rectangle(box, 4, fill=_shade(weight), outline=outline, width=3 if i == chosen else 1)
        ink = plots.PAPER if weight > 0.5 else plots.INK
        pen.text((x + wide / 2, y + 13), token, fill=ink, font=face, anchor="mm")
        pen.text((x + wide / 2, y + 35), f"{weight:.0%}", fill=plots.FAINT, font=small, anchor="mm")
    return canvas


def _map_picture(weights: Tensor, row: int) -> np.ndarray:
    """A map (L, L) as a picture with the chosen row framed: rows take, columns give."""
    length = len(weights)
    cell = max(4, THUMB // length)
    shades = 255 + weights.numpy()[..., None] ** 0.7 * (BLUE - 255)
    image = Image.fromarray(np.rint(shades).astype(np.uint8)).resize((cell * length,) * 2, Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, image.width - 1, image.height - 1), outline="#C8CCD2")
    pen.rectangle((0, cell * row, image.width - 1, cell * (row + 1) - 1), outline=MARK)
    return np.asarray(image)


def _line(text: str, bold: bool = False) -> Image.Image:
    """A line of text as a picture."""
    line = Image.new("RGB", (PANEL, 22), plots.PAPER)
    ink = plots.INK if bold else plots.FAINT
    ImageDraw.Draw(line).text((2, 3), text, fill=ink, font=plots.font(13, bold=bold))
    return line


def overview(results: Sequence[AttentionResult]) -> Image.Image:
    """Drawings one below another, each below its label."""
    parts = []
    for result in results:
        parts += [_line(result.label, bold=True), Image.open(BytesIO(result.encoded))]
    return stack(*parts)
