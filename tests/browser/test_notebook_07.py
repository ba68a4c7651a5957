"""Notebook 07 as a student uses it: run all cells, drag the step slider, see another moment of the trajectory."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "07_classifier_guidance.ipynb"
STATUS = ".trajectory .trajectory-status b"  # in bold: the pictures are there


def test_dragging_the_step_walks_through_the_trajectory(notebook):
    explorer = notebook.locator(".trajectory").first
    picture = explorer.locator("img.trajectory-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, STATUS, "step 40 of 40")
    come_to(notebook, explorer)
    end = image_bytes(picture)
    assert end[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(notebook, "07_before")

    step = explorer.locator(".trajectory-step")
    drag(notebook, step, (0.9, 0.6, 0.3, 0.0))
    wait_for_text(notebook, STATUS, "step 0 of 40")
    start = wait_for_change(notebook, picture, end)
    screenshot(notebook, "07_after")

    press(notebook, step, "ArrowRight")
    wait_for_text(notebook, STATUS, "step 1 of 40")

    # The label is a list: another one makes another trajectory.
    explorer.locator("select").first.select_option(label="species: elephant")
    wait_for_text(notebook, STATUS, "elephant · w = 8")
    assert image_bytes(picture) != start
