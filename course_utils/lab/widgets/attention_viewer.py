"""The attention viewer: choose a layer, a head and a token, and see what that token takes from the others.

`AttentionCore` works without widgets, for a text transformer and a vision transformer alike: a request in; the
weights and a drawing of them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from course_utils.images import check_pictures
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest
from course_utils.lab.widgets.tokenizer_playground import readable
from course_utils.models.attention_maps import attention_maps, rollout
from course_utils.models.text import TextTransformer
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vit import ViT

PANEL, THUMB = 880, 132
BLUE, MARK = np.array([0x00, 0x72, 0xB2]), plots.COLOURS[1]
ALL_LAYERS, ALL_HEADS = 0, 0


@dataclass(frozen=True)
class Request:
    """What to look at. Layers and heads count from 1; layer 0 is the rollout over all, head 0 the mean of all."""

    kind: str = "text"
    sentence: str = ""
    picture: int = 0
    layer: int = 1
    head: int = ALL_HEADS
    token: int = 0


@dataclass(frozen=True)
class Result:
    """The weights (L,) of the chosen token, the tokens' names, PNG bytes, and a line that says what is shown."""

    request: Request
    weights: Tensor
    tokens: list[str]
    encoded: bytes
    label: str


def spotlight(picture: Tensor, weights: Tensor) -> Tensor:
    """A picture (3, H, W) in [-1, 1], lit in proportion to each patch's weight (side²,), the largest fully."""
    side = round(len(weights) ** 0.5)
    light = (weights / weights.max().clamp(min=1e-9)).view(1, 1, side, side)
    light = F.interpolate(light, size=picture.shape[1:], mode="nearest")[0]
    return (picture + 1) * (0.12 + 0.88 * light) - 1


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

    def maps(self, request: Request) -> tuple[Tensor, list[str]]:
        """All weights (layers, heads, L, L) for a sentence or a picture, and the names of its L tokens."""
        key = request.kind, request.sentence if request.kind == "text" else request.picture
        last = self._last  # the widget asks from two threads
        if last is None or last[0] != key:
            last = self._last = key, self._look(request)
        return last[1]

    def _look(self, request: Request) -> tuple[Tensor, list[str]]:
        if request.kind == "text":
            tokens = self.tokenizer(request.sentence)
            length = int((tokens[0] == self.tokenizer.end_id).int().argmax()) + 1
            tokens = tokens[:, :length]
            names = [readable(self.tokenizer.symbols[i]) for i in tokens[0].tolist()]
            return attention_maps(self.text, tokens.to(_device(self.text)))[:, 0], names
        if request.kind != "picture":
            raise ValueError(f"kind: got {request.kind!r}; expected 'text' or 'picture'")
        if not 0 <= request.picture < len(self.pictures):
            raise ValueError(f"picture: got {request.picture}; expected 0 to {len(self.pictures) - 1}")
        x = self.pictures[request.picture : request.picture + 1]
        maps = attention_maps(self.vit, x.to(_device(self.vit)))[:, 0]
        side = round((maps.shape[-1] - 1) ** 0.5)
        return maps, ["class", *(f"row {i // side}, column {i % side}" for i in range(side * side))]

    def compute(self, request: Request) -> Result:
        """The weights of one token and their drawing."""
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
        return Result(request, weights, tokens, plots.to_png(draw(request, each, chosen, weights, tokens)), label)

    def _draw_text(
        self, request: Request, each: Tensor, chosen: Tensor, weights: Tensor, tokens: list[str]
    ) -> Image.Image:
        names = ["all"] if request.layer == ALL_LAYERS else [f"head {h + 1}" for h in range(len(each))]
        strip = _token_strip(tokens, weights, request.token)
        thumbs = plots.tile([_map_picture(m, request.token) for m in each], names, columns=len(each), scale=1, gap=14)
        return _stack(strip, thumbs)

    def _draw_picture(
        self, request: Request, each: Tensor, chosen: Tensor, weights: Tensor, tokens: list[str]
    ) -> Image.Image:
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


def _device(model: torch.nn.Module) -> torch.device:
    return next(model.parameters()).device


def _shade(weight: float) -> tuple[int, int, int]:
    """White for 0, the course's blue for 1."""
    return tuple(int(c) for c in np.rint(255 + weight**0.7 * (BLUE - 255)))


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


def _stack(*images: Image.Image) -> Image.Image:
    """Images one below another, flush left."""
    canvas = Image.new("RGB", (max(i.width for i in images), sum(i.height + 6 for i in images) - 6), plots.PAPER)
    y = 0
    for image in images:
        canvas.paste(image, (0, y))
        y += image.height + 6
    return canvas


class AttentionViewer:
    """The widget: text or picture, layer, head and token. The arrow keys move the token slider, too."""

    def __init__(
        self,
        text: TextTransformer,
        tokenizer: Tokenizer,
        vit: ViT,
        pictures: Tensor,
        sentence: str = "a brown bear with a red hat on a striped sky background",
    ):
        self.core = AttentionCore(text, tokenizer, vit, pictures)
        self.shown: Result | None = None
        self._worker, self._syncing = Latest(self._work), False
        self._build(sentence)

    def _build(self, sentence: str) -> None:
        import ipywidgets as w

        narrow = w.Layout(width="210px")
        self.kind = w.ToggleButtons(options=["text", "picture"], description="look at", style={"button_width": "80px"})
        self.sentence = w.Text(
            sentence, description="sentence", continuous_update=False, layout=w.Layout(width="640px")
        )
        self.picture = w.BoundedIntText(0, min=0, max=len(self.core.pictures) - 1, description="picture", layout=narrow)
        self.layer = w.Dropdown(description="layer", layout=narrow)
        self.head = w.Dropdown(description="head", layout=narrow)
        self.token = w.IntSlider(0, min=0, max=1, description="token", layout=w.Layout(width="440px"))
        self.label, self.image = w.HTML(), w.Image(format="png")
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start", display="none")
        self.box = w.VBox(
            [
                w.HBox([self.kind, self.layer, self.head]),
                w.HBox([self.sentence, self.picture]),
                self.token,
                self.label,
                self.image,
            ]
        )
        self.box.add_class("attention-viewer")
        self.label.add_class("attention-label")
        self.image.add_class("attention-picture")
        self._fit(first=True)
        for control in (self.kind, self.sentence, self.picture, self.layer, self.head, self.token):
            control.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "Attention viewer: run this cell in a notebook to choose layer, head and token",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def request(self) -> Request:
        """What the controls say now."""
        return Request(
            self.kind.value, self.sentence.value, self.picture.value, self.layer.value, self.head.value,
            self.token.value,
        )  # fmt: skip

    def refresh(self) -> None:
        """Compute what the controls say."""
        self._worker.submit(self.request)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self, *requests: Request):
        """The same thing as a picture that a notebook keeps: an `IPython.display.Image`, one request below another."""
        from io import BytesIO

        from IPython.display import Image as Shown

        results = [self.core.compute(request) for request in requests or (self.request,)]
        parts = []
        for result in results:
            title = Image.new("RGB", (PANEL, 22), plots.PAPER)
            ImageDraw.Draw(title).text((2, 3), result.label, fill=plots.INK, font=plots.font(13, bold=True))
            parts += [title, Image.open(BytesIO(result.encoded))]
        return Shown(plots.to_png(_stack(*parts)))

    def _fit(self, first: bool = False) -> None:
        """Let layers, heads and the token slider fit what is looked at; start at the last word, or at the class token."""
        self._syncing = True
        kind, layers, heads = (
            self.kind.value,
            self.core.layers(self.kind.value),
            self.core.heads(self.kind.value),
        )
        self.layer.options = [
            *((str(i), i) for i in range(1, layers + 1)),
            ("all (rollout)", ALL_LAYERS),
        ]
        self.head.options = [("mean", ALL_HEADS), *((str(i), i) for i in range(1, heads + 1))]
        self.layer.value, self.head.value = layers, ALL_HEADS
        self.sentence.disabled, self.picture.disabled = kind != "text", kind == "text"
        self._fit_token()
        self.token.value = self.token.max if kind == "text" else 0
        self._syncing = False

    def _fit_token(self) -> None:
        try:
            self.token.max = len(self.core.maps(self.request)[1]) - 1
        except ValueError:  # too long a sentence: said by the worker
            return

    def _asked(self, change: dict) -> None:
        if self._syncing:
            return
        if change["owner"] is self.kind:
            self._fit()
        elif change["owner"] is self.sentence:
            self._syncing = True
            self._fit_token()
            self._syncing = False
        self.refresh()

    def _work(self, request: Request) -> None:
        try:
            result = self.core.compute(request)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            self.label.value = f'<span style="color:#b00020">{escape(f"{type(error).__name__}: {error}")}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.shown = result
        self.label.value = f"<b>{escape(result.label)}</b>"
