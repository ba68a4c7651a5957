"""The plushie picker: choose attributes, see the plushie and some captions of it."""

from __future__ import annotations

import ipywidgets as w

from course_utils.datasets.attributes import ATTRIBUTES, NAMES
from course_utils.lab.widgets.base import LiveWidget, hidden_image, html, look, reveal
from course_utils.lab.widgets.picker_core import FIRST, SIDE, Picked, PickerCore, PickerRequest, pick

__all__ = ["FIRST", "PlushiePicker", "pick"]


class PlushiePicker(LiveWidget):
    """The widget: a menu for each attribute, a seed, the size in pixels; the plushie and its captions beside them."""

    fallback = "Plushie picker: run this cell in a notebook to choose attributes"

    def __init__(self):
        super().__init__(PickerCore())
        self.menus = {
            name: w.Dropdown(
                options=ATTRIBUTES[name], value=FIRST[name], description=name.replace("_", " "), **look(250, 110)
            )
            for name in NAMES
        }
        self.seed = w.BoundedIntText(0, min=0, max=999_999, description="seed", **look(250, 110))
        self.size = w.Dropdown(options=(32, 64, 128, 256), value=128, description="pixels", **look(250, 110))
        self.image = hidden_image("png", width=f"{SIDE}px", height=f"{SIDE}px").add_class("picker-picture")
        self.text = w.HTML().add_class("picker-captions")
        controls = [*self.menus.values(), self.seed, self.size]
        self.children = [w.HBox([w.VBox(controls), self.image, self.text]), self.status]
        self.add_class("plushie-picker")
        self.follow(*controls)

    @property
    def request(self) -> PickerRequest:
        """What the controls say now."""
        return PickerRequest(tuple(self.menus[name].value for name in NAMES), self.seed.value, self.size.value)

    def asked(self, change: dict) -> None:
        # Without an accessory there is no colour to choose.
        self.menus["accessory_colour"].disabled = self.menus["accessory"].value == "nothing"
        self.refresh()

    def busy(self, request: PickerRequest) -> str:
        return ""

    def show(self, result: Picked) -> None:
        split = "held out: no model has seen this combination" if result.held_out else "in training"
        lines = "".join(f"<li>{html(text)}</li>" for text in result.captions)
        self.text.value = f"<ul>{lines}</ul><i>{split}</i>"
        reveal(self.image, result.encoded)
        self.say()
