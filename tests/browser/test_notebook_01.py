"""Notebook 01 as a student uses it: run all cells, walk from one picture to another."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "01_pixel_vs_latent.ipynb"
LABEL = ".interpolation .interpolation-label b"


def test_walking_from_picture_to_picture(notebook):
    widget = notebook.locator(".interpolation").first
    picture = widget.locator("img.interpolation-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, LABEL, "50% of picture 0", at_start=True)
    come_to(notebook, widget)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    drag(notebook, widget, (0.7, 0.2, 1.0))
    wait_for_text(notebook, LABEL, "0% of picture 0", at_start=True)
    at_the_end = wait_for_change(notebook, picture, before)
    press(notebook, widget, "ArrowLeft")
    wait_for_text(notebook, LABEL, "1% of picture 0", at_start=True)
    wait_for_change(notebook, picture, at_the_end)
    screenshot(notebook, "01_walk")
