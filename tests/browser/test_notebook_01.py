"""Notebook 01 as a student uses it: run all cells, walk from one picture to another."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "01_pixel_vs_latent.ipynb"


def wait_for_label(page, text: str) -> None:
    """Wait until the label says what the pictures are. Its element is new each time."""
    page.wait_for_function(
        "text => document.querySelector('.interpolation .interpolation-label b')?.textContent.startsWith(text)",
        arg=text,
        polling=20,
        timeout=15_000,
    )


def test_walking_from_picture_to_picture(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    widget = page.locator(".interpolation").first
    picture = widget.locator("img.interpolation-pictures").first
    picture.wait_for(state="visible")
    wait_for_label(page, "50% of picture 0")
    for _ in range(2):  # figures above may still arrive and push it down
        widget.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(700)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    handle = widget.locator(".noUi-handle").first
    handle.hover()
    track = widget.locator(".noUi-base").first.bounding_box()
    y = track["y"] + track["height"] / 2
    page.mouse.down()
    for share in (0.7, 0.2, 1.0):
        page.mouse.move(track["x"] + share * track["width"], y, steps=4)
    page.mouse.up()
    wait_for_label(page, "0% of picture 0")
    at_the_end = image_bytes(picture)
    assert at_the_end != before
    handle.focus()
    page.keyboard.press("ArrowLeft")
    wait_for_label(page, "1% of picture 0")
    page.wait_for_timeout(300)
    assert image_bytes(picture) != at_the_end
    screenshot(page, "01_walk")
