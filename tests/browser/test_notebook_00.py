"""Notebook 00 as a student uses it: run all cells, choose another species, see other captions, open the datasheet."""

from __future__ import annotations

from tests.browser.lab import come_to, image_bytes, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "00_start_here.ipynb"


def test_choosing_a_species_changes_picture_and_captions(notebook):
    picker = notebook.locator(".plushie-picker").first
    picture = picker.locator("img.picker-picture").first
    picture.wait_for(state="visible")
    come_to(notebook, picker)
    before = image_bytes(picture)
    assert before[:4] == b"\x89PNG"
    assert "bear" in picker.locator(".picker-captions").text_content()
    picker.locator("select").first.select_option("elephant")
    wait_for_text(notebook, ".picker-captions", "elephant")
    wait_for_change(notebook, picture, before)
    screenshot(notebook, "00_picker")

    link = notebook.locator(".jp-RenderedMarkdown a", has_text="datasheet").first
    link.scroll_into_view_if_needed()
    link.click()
    notebook.wait_for_url("**/lab/tree/data/README.md**")
    notebook.get_by_text("no pictures are stored", exact=False).first.wait_for()
    screenshot(notebook, "00_datasheet")
