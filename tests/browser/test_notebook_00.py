"""Notebook 00 as a student uses it: run all cells, choose another species, see another picture and other captions."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "00_start_here.ipynb"


def test_choosing_a_species_changes_picture_and_captions(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    picker = page.locator(".plushie-picker").first
    picture = picker.locator("img.picker-picture").first
    picture.wait_for(state="visible")
    for _ in range(2):  # figures above may still arrive and push it down
        picker.evaluate("e => e.scrollIntoView({block: 'center'})")
        page.wait_for_timeout(700)
    before = image_bytes(picture)
    assert before[:4] == b"\x89PNG"
    assert "bear" in picker.locator(".picker-captions").text_content()
    picker.locator("select").first.select_option("elephant")
    page.wait_for_function(
        "document.querySelector('.picker-captions')?.textContent.includes('elephant')", timeout=15_000
    )
    page.wait_for_timeout(300)
    assert image_bytes(picture) != before
    screenshot(page, "00_picker")
