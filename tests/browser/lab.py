"""What a test does with a notebook in JupyterLab: open it, run it, look at its widgets and move their controls.

Screenshots go to the folder that `COURSE_ARTIFACTS` names, or to `.cache/browser`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and the folder that it serves, in which notebooks/ lies."""

    url: str
    token: str
    folder: Path
    log: Path


def screenshot(page, name: str) -> Path:
    """Save what the page shows as NAME.png among the artifacts."""
    folder = Path(os.environ.get("COURSE_ARTIFACTS", ROOT / ".cache" / "browser"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
    return folder / f"{name}.png"


def open_notebook(page, lab: Lab, name: str) -> None:
    """Open a notebook in JupyterLab, the file browser folded away, and wait for its kernel."""
    if not (lab.folder / "notebooks" / name).exists():
        there = sorted(p.name for p in lab.folder.glob("notebooks/*.ipynb"))
        pytest.fail(f"there is no notebook {name}; found {there}")
    page.goto(f"{lab.url}/lab/tree/notebooks/{name}?token={lab.token}&reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.evaluate("jupyterapp.shell.collapseLeft()")
    page.wait_for_function(
        "jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'", timeout=180_000
    )


def run_all(page, seconds: float = 300) -> list[dict]:
    """Run all cells, wait until the kernel has finished, and return the notebook's cells.

    A cell that raises, or that leaves something on stderr, fails the test.
    """
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    wait_idle(page, seconds)
    cells = page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells")
    for cell in cells:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", "")) or "\n".join(output.get("traceback", []))
            if output["output_type"] == "error" or output.get("name") == "stderr":
                pytest.fail(f"cell\n{''.join(cell['source'])}\nsays\n{text}")
    return cells


def wait_idle(page, seconds: float = 300) -> None:
    """Wait until every code cell with code in it has run and the kernel is idle."""
    page.wait_for_function(
        """() => {
            const panel = jupyterapp.shell.currentWidget;
            const cells = panel.content.model.sharedModel.cells;
            const failed = c => c.outputs.some(o => o.output_type === 'error');
            const code = cells.filter(c => c.cell_type === 'code' && c.source.trim());
            const idle = panel.sessionContext.session.kernel.status === 'idle';
            return idle && (code.every(c => c.execution_count) || code.some(failed));
        }""",
        timeout=1000 * seconds,
        polling=200,
    )


def clear_outputs(page) -> None:
    """Forget the saved outputs, so that what is seen was made now."""
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")


def image_bytes(locator) -> bytes:
    """The encoded bytes that an image on the page shows."""
    return bytes(locator.evaluate("async e => Array.from(new Uint8Array(await (await fetch(e.src)).arrayBuffer()))"))


def come_to(page, widget) -> None:
    """Scroll to a widget, twice: figures above may still arrive and push it down."""
    widget.wait_for()
    for _ in range(2):
        widget.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(700)


def wait_for_text(page, selector: str, text: str, at_start: bool = False, seconds: float = 20) -> None:
    """Wait until the first element that the selector finds says `text`; a widget may replace the element by then."""
    page.wait_for_function(
        """([selector, text, at_start]) => {
            const said = document.querySelector(selector)?.textContent ?? '';
            return at_start ? said.startsWith(text) : said.includes(text);
        }""",
        arg=[selector, text, at_start],
        polling=20,
        timeout=1000 * seconds,
    )


def wait_for_change(page, image, before: bytes, seconds: float = 15) -> bytes:
    """Wait until an image shows other bytes, and return them."""
    for _ in range(int(10 * seconds)):
        if (now := image_bytes(image)) != before:
            return now
        page.wait_for_timeout(100)
    raise AssertionError(f"{image} still shows the same picture")


def drag(page, slider, shares: Sequence[float], steps: int = 4, pause: int = 0) -> None:
    """Drag a slider's handle over these shares of its track, `pause` milliseconds at each, and let go."""
    slider.locator(".noUi-handle").first.hover()  # which scrolls to it, should it have moved again
    track = slider.locator(".noUi-base").first.bounding_box()
    page.mouse.down()
    for share in shares:
        page.mouse.move(track["x"] + share * track["width"], track["y"] + track["height"] / 2, steps=steps)
        page.wait_for_timeout(pause)
    page.mouse.up()


def press(page, slider, *keys: str) -> None:
    """Press keys on a slider's handle."""
    slider.locator(".noUi-handle").first.focus()
    for key in keys:
        page.keyboard.press(key)
