"""Notebook 09 as a student uses it: run all cells, pick a reference picture, move the mix, change the method."""

from __future__ import annotations

from tests.browser.lab import come_to, image_bytes, press, screenshot, wait_for_text

NOTEBOOK = "09_putting_it_together.ipynb"
LABEL = ".generator .generator-label b"


def test_words_a_picture_a_mixture_and_another_method(notebook):
    generator = notebook.locator(".generator").first
    picture = generator.locator(".generator-pictures img").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, LABEL, "CFG, w = ")
    come_to(notebook, generator)
    seen = [image_bytes(picture)]
    assert seen[0][:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(notebook, "09_before")

    generator.locator(".generator-reference button", has_text="3").click()
    wait_for_text(notebook, LABEL, "picture 3 50%")
    seen.append(image_bytes(picture))

    press(notebook, generator.locator(".generator-mix"), "End")
    wait_for_text(notebook, LABEL, "picture 3 100%")
    seen.append(image_bytes(picture))

    generator.locator(".generator-method select").first.select_option(label="APG")
    wait_for_text(notebook, LABEL, "APG, w = ")
    seen.append(image_bytes(picture))
    assert len(set(seen)) == 4, "each of the changes makes other pictures"
    wait_for_text(notebook, ".generator .generator-status", "of what was asked for is there")
    screenshot(notebook, "09_after")
