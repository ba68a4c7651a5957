"""Notebook 06 as a student uses it: run all cells, drag t, see another field; choose a class, and w counts."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "06_diffusion_from_zero.ipynb"
STATUS = ".field-explorer .field-status b"  # in bold: the drawing is there


def test_dragging_t_shows_the_field_at_other_times(notebook):
    explorer = notebook.locator(".field-explorer").first
    picture = explorer.locator("img.field-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, STATUS, "all classes · t = 0.50 · euler, 20 steps")
    come_to(notebook, explorer)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the drawing arrives as a JPEG"
    screenshot(notebook, "06_field_before")

    t = explorer.locator(".field-t")
    drag(notebook, t, (0.4, 0.2, 0.0))
    wait_for_text(notebook, STATUS, "t = 0.00")
    at_zero = wait_for_change(notebook, picture, before)
    screenshot(notebook, "06_field_after")

    press(notebook, t, "ArrowRight")
    wait_for_text(notebook, STATUS, "t = 0.02")

    # The classes are a list: with one of them chosen, w counts.
    explorer.locator(".field-y select").select_option(label="1")
    wait_for_text(notebook, STATUS, "class 1 · w = 1")
    assert image_bytes(picture) != at_zero
