"""The tokenizer playground: type a text, and see how two tokenizers cut it.

`PlaygroundCore` works without widgets: a text in; the tokens of both, drawn as coloured boxes, out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw

from course_utils.external.clip_bpe import ClipBPE
from course_utils.lab import plots
from course_utils.lab.widgets.latest import Latest
from course_utils.models.tokenizer import CHAR_TO_BYTE, SPECIALS, Tokenizer, normalise

TINTS = ("#CFE3F3", "#F9DEC7", "#CDEBDF", "#F3DDEA", "#FBEBC4")  # neighbours differ
WORD_END, SPACE = "</w>", "·"
PANEL, PAD, LINE = 880, 5, 27
LONGEST = 2000  # characters that the widget looks at


@cache
def _letters() -> frozenset[int]:
    """The code points that the course's font can draw."""
    from matplotlib.ft2font import FT2Font

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return frozenset(FT2Font(str(folder / "DejaVuSans.ttf")).get_charmap())


def readable(symbol: str) -> str:
    """A token's symbol as a reader sees it: a dot for a space or a word's end, bytes in hexadecimal.

    "Ġhat" and "hat</w>" become "·hat" and "hat·"; half a letter, or one that the font lacks, shows its bytes.
    """
    if symbol in SPECIALS:
        return symbol
    body = symbol.removesuffix(WORD_END)
    raw = bytes(CHAR_TO_BYTE[char] for char in body)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = ""
    if text and all(char.isprintable() and ord(char) in _letters() for char in text):
        shown = text.replace(" ", SPACE)
    else:
        shown = " ".join(f"{byte:02X}" for byte in raw)
    return shown + (SPACE if symbol != body else "")


def token_rows(
    rows: Mapping[str, Sequence[str]], ids: Mapping[str, Sequence[int]] | None = None, width: int = PANEL
) -> Image.Image:
    """Named rows of tokens as coloured boxes, {"30 merges": ["Ġa", "Ġbear"]}; with `ids`, each id below its box.

    Rows are wrapped to `width` pixels.
    """
    if not rows:
        raise ValueError("rows: got none; expected one row or more")
    face, small = plots.font(14), plots.font(10)
    left = min(240, max(int(plots.font(12).getlength(label)) for label in rows) + 14)
    high = LINE + (13 if ids else 0)
    boxes, y = [], 0
    for label, tokens in rows.items():
        boxes.append(("label", label, 0, y, 0, 0))
        x = left
        numbers = [str(i) for i in ids[label]] if ids else [""] * len(tokens)
        for i, (token, number) in enumerate(zip(tokens, numbers, strict=True)):
            text = readable(token)
            wide = int(max(face.getlength(text), small.getlength(number))) + 2 * PAD
            if x + wide > width and x > left:
                x, y = left, y + high
            boxes.append((text, number, x, y, wide, i))
            x += wide + 2
        y += high + 8
    canvas = Image.new("RGB", (width, y - 4), plots.PAPER)
    pen = ImageDraw.Draw(canvas)
    for text, note, x, y, wide, i in boxes:
        if text == "label" and not wide:
            pen.text((left - 12, y + 12), note, fill=plots.INK, font=plots.font(12), anchor="rm")
            continue
        pen.rounded_rectangle((x, y, x + wide - 1, y + 24), 4, fill=TINTS[i % len(TINTS)])
        pen.text((x + wide / 2, y + 12), text, fill=plots.INK, font=face, anchor="mm")
        if note:
            pen.text((x + wide / 2, y + 32), note, fill=plots.FAINT, font=small, anchor="mm")
    return canvas


@dataclass(frozen=True)
class Result:
    """What two tokenizers make of a text: symbols and ids by tokenizer, PNG bytes, and what there is to say."""

    text: str
    tokens: dict[str, list[str]]
    ids: dict[str, list[int]]
    encoded: bytes
    label: str
    notes: tuple[str, ...]


class PlaygroundCore:
    """The course's tokenizer beside CLIP's. The course's reads a text as its models do, `normalise`d."""

    def __init__(self, own: Tokenizer, clip: ClipBPE | None = None):
        self.own, self.clip = own, clip or ClipBPE()
        self.names = f"course, {own.vocab_size:,} ids", f"CLIP, {self.clip.vocab_size:,} ids"

    def compute(self, text: str) -> Result:
        """Tokens of a text of up to 2,000 characters."""
        if not isinstance(text, str) or len(text) > LONGEST:
            came = f"{len(text)} characters" if isinstance(text, str) else type(text).__name__
            raise ValueError(f"text: got {came}; expected a string of up to {LONGEST}")
        said = normalise(text)
        ids = dict(zip(self.names, (self.own.encode(said), self.clip.encode(text)), strict=True))
        tokens = dict(zip(self.names, (self.own.tokens(said), self.clip.tokens(text)), strict=True))
        encoded = plots.to_png(token_rows(tokens, ids))
        counts = " · ".join(f"{len(t)} tokens ({name.split(',')[0]})" for name, t in tokens.items())
        label = f"{len(text)} characters, {len(text.encode())} bytes → {counts}"
        return Result(text, tokens, ids, encoded, label, self._notes(text, len(ids[self.names[0]])))

    def _notes(self, text: str, own: int) -> tuple[str, ...]:
        notes, room = [], self.own.context_length - 2
        if own > room:
            notes.append(f"too long for the course's models: {own} tokens, and {room} fit. They refuse it.")
        if dropped := self.clip.dropped(text):
            notes.append(f"too long for CLIP: it drops the last {dropped} tokens without saying so.")
        return tuple(notes)


class TokenizerPlayground:
    """The widget: a line to type in, and both tokenizers' boxes, which follow each key."""

    def __init__(
        self,
        own: Tokenizer,
        clip: ClipBPE | None = None,
        text: str = "A fluffy brown bear, wearing a red hat",
    ):
        import ipywidgets as w

        self.core = PlaygroundCore(own, clip)
        self.shown: Result | None = None
        self._worker = Latest(self._work)
        self.text = w.Text(text, description="text", layout=w.Layout(width=f"{PANEL}px"))
        self.label, self.image, self.notes = w.HTML(), w.Image(format="png"), w.HTML()
        self.image.layout = w.Layout(max_width="100%", object_fit="contain", align_self="flex-start", display="none")
        self.box = w.VBox([self.text, self.label, self.image, self.notes])
        self.box.add_class("playground")
        self.label.add_class("playground-label")
        self.notes.add_class("playground-notes")
        self.image.add_class("playground-tokens")
        self.text.observe(self._asked, "value")

    def _repr_mimebundle_(self, **_: object) -> dict:
        """Show the widget, and start to compute. The text is for where no widget can be shown."""
        self.refresh()
        return {
            "text/plain": "Tokenizer playground: run this cell in a notebook to type a text",
            "application/vnd.jupyter.widget-view+json": {
                "version_major": 2, "version_minor": 0, "model_id": self.box.model_id,
            },
        }  # fmt: skip

    def refresh(self) -> None:
        """Cut what the line says."""
        self._worker.submit(self.text.value)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all that was asked for is shown; False if that took longer than `timeout` seconds."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """End the worker."""
        self._worker.close()

    def static(self, *texts: str):
        """The same thing as a picture that a notebook keeps: an `IPython.display.Image`, the texts one below another."""
        from IPython.display import Image as Shown

        rows, ids = {}, {}
        for i, text in enumerate(texts or (self.text.value,)):
            result = self.core.compute(text)
            for name, tokens in result.tokens.items():
                label = name.split(",")[0] + " " * i  # a key of its own for each text
                rows[label], ids[label] = tokens, result.ids[name]
        return Shown(plots.to_png(token_rows(rows, ids)))

    def _asked(self, change: dict) -> None:
        self.refresh()

    def _work(self, text: str) -> None:
        try:
            result = self.core.compute(text)
        except Exception as error:  # a thread has nobody else to tell, and the next request may well work
            self.label.value = f'<span style="color:#b00020">{escape(f"{type(error).__name__}: {error}")}</span>'
            return
        self.image.value, self.image.layout.display = result.encoded, "block"
        self.notes.value = "<br>".join(escape(note) for note in result.notes)
        self.shown = result
        self.label.value = f"<b>{escape(result.label)}</b>"
