"""Notebook 06 as a student uses it: run all cells, drag the step slider, see another moment of the trajectory."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "06_classifier_guidance.ipynb"


def wait_for(page, text: str) -> None:
    """Wait until the status says this, in bold: the pictures are there."""
    page.wait_for_function(
        "text => document.querySelector('.trajectory .trajectory-status b')?.textContent.includes(text)",
        arg=text,
        polling=20,
        timeout=20_000,
    )


def test_dragging_the_step_walks_through_the_trajectory(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    explorer = page.locator(".trajectory").first
    picture = explorer.locator("img.trajectory-pictures").first
    picture.wait_for(state="visible")
    wait_for(page, "step 40 of 40")
    # Figures above may still arrive and push the widget down, so come to it twice.
    for _ in range(2):
        explorer.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(700)
    end = image_bytes(picture)
    assert end[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(page, "06_before")

    handle = explorer.locator(".trajectory-step .noUi-handle").first
    handle.hover()  # which scrolls to it, should it have moved again
    track = explorer.locator(".trajectory-step .noUi-base").first.bounding_box()
    y = track["y"] + track["height"] / 2
    page.mouse.down()
    for share in (0.9, 0.6, 0.3, 0.0):
        page.mouse.move(track["x"] + share * track["width"], y, steps=4)
    page.mouse.up()
    wait_for(page, "step 0 of 40")
    start = image_bytes(picture)
    assert start != end
    screenshot(page, "06_after")

    handle.focus()
    page.keyboard.press("ArrowRight")
    wait_for(page, "step 1 of 40")

    # The label is a list: another one makes another trajectory.
    explorer.locator("select").first.select_option(label="fur: pink")
    wait_for(page, "pink · w = 8")
    assert image_bytes(picture) != start
