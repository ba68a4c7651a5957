"""Notebook 04 as a student uses it: run all cells, type a text to cut into tokens, walk through attention."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "04_tokens_and_transformers.ipynb"


def test_typing_cuts_tokens_and_the_viewer_follows(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)

    playground = page.locator(".playground").first
    come_to(page, playground)
    drawn = playground.locator("img.playground-tokens").first
    drawn.wait_for(state="visible")
    before = image_bytes(drawn)
    line = playground.locator("input[type=text]").first
    line.fill("")
    line.press_sequentially("three zebras 🧸", delay=5)
    changed(page, "img.playground-tokens", before)
    assert image_bytes(drawn)[:4] == b"\x89PNG"
    screenshot(page, "04_tokens")

    viewer = page.locator(".attention-viewer").first
    come_to(page, viewer)
    said(page, "layer 2")
    before = image_bytes(viewer.locator("img.attention-picture").first)
    viewer.locator("select").first.select_option("1")
    said(page, "layer 1")
    assert image_bytes(viewer.locator("img.attention-picture").first) != before
    viewer.get_by_role("button", name="picture").click()
    said(page, "“class” takes most")
    handle = viewer.locator(".noUi-handle").first
    handle.focus()
    page.keyboard.press("ArrowRight")
    said(page, "“row 0, column 0” takes most")
    screenshot(page, "04_attention")


def come_to(page, widget) -> None:
    """Scroll to a widget, twice: figures above may still arrive and push it down."""
    widget.wait_for()
    for _ in range(2):
        widget.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(500)


def changed(page, image: str, before: bytes) -> None:
    """Wait until another picture is shown, which then is a new object behind a new address."""
    for _ in range(150):
        if image_bytes(page.locator(image).first) != before:
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"{image} still shows the same picture")


def said(page, text: str) -> None:
    """Wait until the viewer's label says `text`. Its element is new each time."""
    page.wait_for_function(
        "text => document.querySelector('.attention-viewer .attention-label')?.textContent.includes(text)",
        arg=text,
        polling=20,
        timeout=15_000,
    )
