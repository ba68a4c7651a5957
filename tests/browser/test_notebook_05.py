"""Notebook 05 as a student uses it: run all cells, type a sentence and see other pictures, drag the temperature."""

from __future__ import annotations

from tests.browser.lab import come_to, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "05_clip.ipynb"
FOUND, TEMPERATURE = ".retrieval-explorer .retrieval-label b", ".temperature-slider .temperature-label b"


def test_typing_finds_pictures_and_the_temperature_can_be_dragged(notebook):
    explorer = notebook.locator(".retrieval-explorer").first
    come_to(notebook, explorer)
    picture = explorer.locator("img.retrieval-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, FOUND, "a white rabbit")
    before = image_bytes(picture)
    line = explorer.locator("input[type=text]").first
    line.fill("")
    line.press_sequentially("a pink elephant with a zebra", delay=5)
    wait_for_text(notebook, FOUND, "a pink elephant with a zebra")
    wait_for_change(notebook, picture, before)
    assert "No caption of the data set contains: zebra" in explorer.text_content()
    screenshot(notebook, "05_retrieval")

    number = explorer.locator("input[type=number]").first
    number.fill("3")
    number.press("Enter")
    wait_for_text(notebook, FOUND, "sentences for picture 3")
    assert explorer.locator("li").count() == 8

    slider = notebook.locator(".temperature-slider").first
    come_to(notebook, slider)
    wait_for_text(notebook, TEMPERATURE, "1/τ = 14.3")
    matrix = slider.locator("img.temperature-picture").first
    before = image_bytes(matrix)
    press(notebook, slider, "ArrowRight", "ArrowRight")
    wait_for_text(notebook, TEMPERATURE, "1/τ = 30,")
    wait_for_change(notebook, matrix, before)
    assert "hesitates among" in slider.text_content()
    screenshot(notebook, "05_temperature")
