"""The plushie picker: choose attributes, see the plushie and some captions of it.

`pick` works without widgets: attributes in words and a seed in; the picture, captions and the split out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from course_utils.datasets import captions
from course_utils.datasets.attributes import ATTRIBUTES, NAMES, held_out_combinations
from course_utils.datasets.drawing import render
from course_utils.lab import plots

SIDE = 256  # pixels on the screen, whatever the picture's own size
FIRST = {
    "species": "bear", "fur": "brown", "accessory": "hat", "accessory_colour": "red",
    "background": "mint", "pattern": "dotted",
}  # fmt: skip


@dataclass(frozen=True)
class Picked:
    """One plushie: `picture` (3, size, size) uint8, `attributes` (6,) with -1 for the colour of nothing, `encoded`:
    PNG bytes, `captions`: different true captions. `held_out`: no training picture shows this combination."""

    picture: Tensor
    attributes: Tensor
    encoded: bytes
    captions: tuple[str, ...]
    held_out: bool


def pick(values: Mapping[str, str], seed: int = 0, size: int = 64, n_captions: int = 4) -> Picked:
    """Draw the plushie with these attribute values ({"species": "cat", ...}, all six) and write captions of it.

    Raises ValueError for an attribute that is missing, or a value that it does not have.
    """
    row = []
    for name in NAMES:
        if values.get(name) not in ATTRIBUTES[name]:
            expected = ", ".join(ATTRIBUTES[name])
            raise ValueError(f"{name}: got {values.get(name)!r}; expected one of {expected}")
        row.append(ATTRIBUTES[name].index(values[name]))
    if values["accessory"] == "nothing":
        row[NAMES.index("accessory_colour")] = -1
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed: got {seed!r}; expected a whole number, 0 or more")
    attributes = torch.tensor(row)
    picture = render(attributes[None], torch.tensor([seed]), size)[0]
    texts = [captions.full_caption(attributes)]
    variant = 0
    while len(texts) < n_captions:
        text = captions.caption(attributes, 1000 * seed + variant)
        texts += [text] if text not in texts else []
        variant += 1
    encoded = plots.to_png(picture[None], scale=SIDE / size)
    return Picked(picture, attributes, encoded, tuple(texts), tuple(row[:3]) in held_out_combinations())


class PlushiePicker:
    """The widget: a menu for each attribute, a seed, the size in pixels; the plushie and its captions beside them.

    A plushie takes a few milliseconds, so it is drawn at once, in the kernel's own thread.
    """

    def __init__(self):
        import ipywidgets as w

        style, narrow = {"description_width": "110px"}, w.Layout(width="250px")
        self.menus = {
            name: w.Dropdown(
                options=ATTRIBUTES[name], value=FIRST[name], description=name.replace("_", " "), style=style, layout=narrow
            )
            for name in NAMES
        }  # fmt: skip
        self.seed = w.BoundedIntText(0, min=0, max=999_999, description="seed", style=style, layout=narrow)
        self.size = w.Dropdown(options=(32, 64, 128, 256), value=64, description="pixels", style=style, layout=narrow)
        self.image, self.text = w.Image(format="png"), w.HTML()
        self.image.layout = w.Layout(width=f"{SIDE}px", height=f"{SIDE}px")
        self.image.add_class("picker-picture")
        self.text.add_class("picker-captions")
        controls = [*self.menus.values(), self.seed, self.size]
        self.box = w.HBox([w.VBox(controls), self.image, self.text])
        self.box.add_class("plushie-picker")
        for control in controls:
            control.observe(self._changed, "value")
        self.shown: Picked | None = None
        self._changed()

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget. The text is for where no widget can be shown."""
        return {
            "text/plain": "Plushie picker: run this cell in a notebook to choose attributes",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    @property
    def values(self) -> dict[str, str]:
        """What the menus say now."""
        return {name: menu.value for name, menu in self.menus.items()}

    def _changed(self, change: dict | None = None) -> None:
        self.shown = pick(self.values, self.seed.value, self.size.value)
        # Without an accessory there is no colour to choose.
        self.menus["accessory_colour"].disabled = self.values["accessory"] == "nothing"
        self.image.value = self.shown.encoded
        split = "held out: no model has seen this combination" if self.shown.held_out else "in training"
        lines = "".join(f"<li>{escape(text)}</li>" for text in self.shown.captions)
        self.text.value = f"<ul>{lines}</ul><i>{split}</i>"
