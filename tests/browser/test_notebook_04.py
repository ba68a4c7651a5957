"""Notebook 04 as a student uses it: run all cells, predict, type a text to cut into tokens, walk through attention."""

from __future__ import annotations

from tests.browser.lab import come_to, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "04_tokens_and_transformers.ipynb"
LABEL = ".attention-viewer .attention-label"


def test_a_prediction_is_judged_typing_cuts_tokens_and_the_viewer_follows(notebook):
    prediction = notebook.locator(".prediction").first
    come_to(notebook, prediction)
    prediction.get_by_role("button", name="the one with positions, and the causal one without").click()
    wait_for_text(notebook, ".prediction-verdict", "the one with positions, and the causal one without")
    screenshot(notebook, "04_prediction")

    playground = notebook.locator(".playground").first
    come_to(notebook, playground)
    drawn = playground.locator("img.playground-tokens").first
    drawn.wait_for(state="visible")
    before = image_bytes(drawn)
    line = playground.locator("input[type=text]").first
    line.fill("")
    line.press_sequentially("three zebras 🧸", delay=5)
    assert wait_for_change(notebook, drawn, before)[:4] == b"\x89PNG"
    screenshot(notebook, "04_tokens")

    viewer = notebook.locator(".attention-viewer").first
    come_to(notebook, viewer)
    wait_for_text(notebook, LABEL, "layer 2")
    picture = viewer.locator("img.attention-picture").first
    before = image_bytes(picture)
    viewer.locator("select").first.select_option("1")
    wait_for_text(notebook, LABEL, "layer 1")
    wait_for_change(notebook, picture, before)
    viewer.get_by_role("button", name="picture").click()
    wait_for_text(notebook, LABEL, "“class” takes most")
    press(notebook, viewer, "ArrowRight")
    wait_for_text(notebook, LABEL, "“row 0, column 0” takes most")
    screenshot(notebook, "04_attention")
