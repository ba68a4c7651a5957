"""Notebook 10 as a student uses it: run all cells, choose another method of guidance, drag w."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "10_better_guidance.ipynb"
STATUS = ".guided-ways .guided-status b"  # in bold: the drawing is there


def test_choosing_a_method_and_dragging_w_draws_other_ways(notebook):
    explorer = notebook.locator(".guided-ways").first
    picture = explorer.locator("img.guided-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, STATUS, "interval (late half) · w = 4")
    come_to(notebook, explorer)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the drawing arrives as a JPEG"
    screenshot(notebook, "10_guided_before")

    explorer.locator(".guided-method select").select_option(label="APG")
    wait_for_text(notebook, STATUS, "APG · w = 4")
    projected = wait_for_change(notebook, picture, before)

    drag(notebook, explorer, (0.7, 0.9, 1.0))
    wait_for_text(notebook, STATUS, "APG · w = 8")
    wait_for_change(notebook, picture, projected)
    screenshot(notebook, "10_guided_after")

    press(notebook, explorer, "ArrowLeft")
    wait_for_text(notebook, STATUS, "APG · w = 7.75")
    assert "plain guidance: doubt" in explorer.text_content()
