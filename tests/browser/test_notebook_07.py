"""Notebook 07 as a student uses it: run all cells, drag w, see other pictures."""

from __future__ import annotations

import re
import time

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "07_classifier_free_guidance.ipynb"
TARGET, LOOSE = 0.5, 10.0  # seconds from letting go of the slider to the last pictures: aim, and what fails


def start(page, lab):
    """Run the notebook, wait until the explorer has shown all it has, and bring it into view."""
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    explorer = page.locator(".cfg-explorer").first
    # The strip is the last thing to be computed.
    explorer.locator("img.cfg-strip").wait_for(state="visible")
    explorer.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(500)
    return explorer


def readout(explorer) -> float:
    return float(explorer.locator(".widget-hslider .widget-readout").first.text_content())


def wait_for_w(page, w: float) -> None:
    """Wait until the label says that the pictures are those of w. The label's element is new each time."""
    page.wait_for_function(
        "text => document.querySelector('.cfg-explorer .cfg-label')?.textContent.includes(text)",
        arg=f"w = {w:.1f} ",
        polling=10,
    )


def test_dragging_w_changes_the_pictures(page, lab):
    explorer = start(page, lab)
    picture, strip = explorer.locator("img.cfg-pictures").first, explorer.locator("img.cfg-strip").first
    before, strip_before = image_bytes(picture), image_bytes(strip)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(page, "07_before")

    slider = explorer.locator(".widget-hslider").first
    handle, track = (slider.locator(name).bounding_box() for name in (".noUi-handle", ".noUi-base"))
    y = handle["y"] + handle["height"] / 2
    page.mouse.move(handle["x"] + handle["width"] / 2, y)
    page.mouse.down()
    for share in (0.0, 0.3, 0.1, 0.5, 0.7, 0.9, 0.8):
        page.mouse.move(track["x"] + share * track["width"], y, steps=6)
        page.wait_for_timeout(40)
    page.mouse.up()
    let_go = time.monotonic()
    w = readout(explorer)
    wait_for_w(page, w)
    took = time.monotonic() - let_go
    print(f"\nfrom letting go to the last pictures: {1000 * took:.0f} ms (target {1000 * TARGET:.0f} ms)")

    assert abs(w - 12.0) < 0.5, "the slider runs from 0 to 15"
    label = explorer.locator(".cfg-label").first.text_content()
    assert float(re.search(r"w = ([\d.]+)", label).group(1)) == w
    after = image_bytes(picture)
    assert after != before
    page.wait_for_timeout(1500)
    assert image_bytes(picture) == after, "nothing older arrives later"
    assert image_bytes(strip) == strip_before, "the strip does not depend on w"
    screenshot(page, "07_after")
    assert took < LOOSE


def test_arrow_keys_move_w(page, lab):
    explorer = start(page, lab)
    first = readout(explorer)
    explorer.locator(".widget-hslider .noUi-handle").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    wait_for_w(page, first + 0.3)
