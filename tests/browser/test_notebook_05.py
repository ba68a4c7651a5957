"""Notebook 05 as a student uses it: run all cells, type a sentence and see other pictures, drag the temperature."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "05_clip.ipynb"


def wait_for_label(page, widget: str, text: str) -> None:
    """Wait until the widget's label says this in bold, which it does when the picture is there."""
    page.wait_for_function(
        "([widget, text]) => document.querySelector(`${widget} b`)?.textContent.includes(text)",
        arg=[widget, text],
        polling=20,
        timeout=15_000,
    )


def test_typing_finds_pictures_and_the_temperature_can_be_dragged(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)

    explorer = page.locator(".retrieval-explorer").first
    for _ in range(2):  # figures above may still arrive and push the widget down
        explorer.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(500)
    picture = explorer.locator("img.retrieval-pictures").first
    picture.wait_for(state="visible")
    wait_for_label(page, ".retrieval-explorer .retrieval-label", "a white rabbit")
    before = image_bytes(picture)
    line = explorer.locator("input[type=text]").first
    line.fill("")
    line.press_sequentially("a pink elephant with a zebra", delay=5)
    wait_for_label(page, ".retrieval-explorer .retrieval-label", "a pink elephant with a zebra")
    page.wait_for_timeout(300)
    assert image_bytes(picture) != before
    assert "No caption of the data set contains: zebra" in explorer.text_content()
    screenshot(page, "05_retrieval")

    number = explorer.locator("input[type=number]").first
    number.fill("3")
    number.press("Enter")
    wait_for_label(page, ".retrieval-explorer .retrieval-label", "sentences for picture 3")
    assert explorer.locator("li").count() == 8

    slider = page.locator(".temperature-slider").first
    slider.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(500)
    wait_for_label(page, ".temperature-slider .temperature-label", "1/τ = 14.3")
    matrix = slider.locator("img.temperature-picture").first
    before = image_bytes(matrix)
    slider.locator(".noUi-handle").first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    wait_for_label(page, ".temperature-slider .temperature-label", "1/τ = 30,")
    page.wait_for_timeout(300)
    assert image_bytes(matrix) != before
    assert "hesitates among" in slider.text_content()
    screenshot(page, "05_temperature")
