"""Notebook 02 as a student uses it: run all cells, drag the KL weight, see other reconstructions and samples."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "02_vae_and_kl.ipynb"
LABEL = ".kl-slider .kl-label b"


def test_dragging_the_weight_changes_the_pictures(notebook):
    slider = notebook.locator(".kl-slider").first
    picture = slider.locator("img.kl-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, LABEL, "β = ", at_start=True)
    come_to(notebook, slider)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(notebook, "02_before")

    drag(notebook, slider, (0.2, 0.7, 0.4, 1.0))
    wait_for_text(notebook, LABEL, "β = 1000 ", at_start=True)
    collapsed = wait_for_change(notebook, picture, before)
    assert "0 of 256 dimensions active" in slider.text_content()
    screenshot(notebook, "02_after")

    press(notebook, slider, "ArrowLeft")
    wait_for_text(notebook, LABEL, "β = 100 ", at_start=True)
    wait_for_change(notebook, picture, collapsed)
