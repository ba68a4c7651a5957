"""Notebook 08 as a student uses it: run all cells, pick a reference picture, move the mix, change the method."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "08_putting_it_together.ipynb"


def wait_for(page, text: str) -> None:
    """Wait until the label says this: the pictures are there."""
    page.wait_for_function(
        "text => document.querySelector('.generator .generator-label b')?.textContent.includes(text)",
        arg=text,
        polling=20,
        timeout=20_000,
    )


def test_words_a_picture_a_mixture_and_another_method(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    generator = page.locator(".generator").first
    picture = generator.locator("img.generator-pictures").first
    picture.wait_for(state="visible")
    wait_for(page, "CFG, w = ")
    # Figures above may still arrive and push the widget down, so come to it twice.
    for _ in range(2):
        generator.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(700)
    seen = [image_bytes(picture)]
    assert seen[0][:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(page, "08_before")

    generator.locator(".generator-reference button", has_text="3").click()
    wait_for(page, "picture 3 50%")
    seen.append(image_bytes(picture))

    handle = generator.locator(".generator-mix .noUi-handle").first
    handle.focus()
    page.keyboard.press("End")
    wait_for(page, "picture 3 100%")
    seen.append(image_bytes(picture))

    generator.locator(".generator-method select").first.select_option(label="APG")
    wait_for(page, "APG, w = ")
    seen.append(image_bytes(picture))
    assert len(set(seen)) == 4, "each of the changes makes other pictures"
    assert "of what was asked for is there" in generator.locator(".generator-status").first.text_content()
    screenshot(page, "08_after")
