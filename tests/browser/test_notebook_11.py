"""Notebook 11 as a student uses it: run all cells, drag w with a student beside the teacher, change to fast pictures."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, screenshot, wait_for_text

NOTEBOOK = "11_few_steps.ipynb"
LABEL = ".cfg-explorer .cfg-label"


def test_a_drag_ends_on_exact_pictures_and_the_switch_draws_fast_ones(notebook):
    explorer = notebook.locator(".cfg-explorer").first
    explorer.locator(".cfg-strip img").first.wait_for(state="visible")
    come_to(notebook, explorer)
    picture = explorer.locator(".cfg-pictures img").first
    before = image_bytes(picture)
    screenshot(notebook, "11_before")

    drag(notebook, explorer, (0.3, 0.5, 0.9, 1.0), steps=6, pause=40)
    wait_for_text(notebook, LABEL, "w = 15 · 'a cat' · seed 4 · 16 Euler steps")
    exact = image_bytes(picture)
    assert exact != before

    explorer.locator(".pace button", has_text="fast").click()
    wait_for_text(notebook, LABEL, "w = 15 · 'a cat' · seed 4 · 2 fast steps")
    assert image_bytes(picture) != exact
    screenshot(notebook, "11_fast")
