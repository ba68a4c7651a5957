"""Notebook 02 as a student uses it: run all cells, drag the KL weight, see other reconstructions and samples."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "02_vae_and_kl.ipynb"


def wait_for_beta(page, text: str) -> None:
    """Wait until the label says that the pictures are those of this weight. The label's element is new each time."""
    page.wait_for_function(
        "text => document.querySelector('.kl-slider .kl-label b')?.textContent.startsWith(text)",
        arg=text,
        polling=20,
        timeout=15_000,
    )


def test_dragging_the_weight_changes_the_pictures(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    slider = page.locator(".kl-slider").first
    picture = slider.locator("img.kl-pictures").first
    picture.wait_for(state="visible")
    wait_for_beta(page, "β = ")
    # Figures above may still arrive and push the slider down, so come to it twice.
    for _ in range(2):
        slider.evaluate("e => e.scrollIntoView({block: 'start'})")
        page.wait_for_timeout(700)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(page, "02_before")

    handle = slider.locator(".noUi-handle").first
    handle.hover()  # which scrolls to it, should it have moved again
    track = slider.locator(".noUi-base").first.bounding_box()
    y = track["y"] + track["height"] / 2
    page.mouse.down()
    for share in (0.2, 0.7, 0.4, 1.0):
        page.mouse.move(track["x"] + share * track["width"], y, steps=4)
    page.mouse.up()
    wait_for_beta(page, "β = 1000 ")
    collapsed = image_bytes(picture)
    assert collapsed != before
    assert "0 of 256 dimensions active" in slider.text_content()
    screenshot(page, "02_after")

    handle.focus()
    page.keyboard.press("ArrowLeft")
    wait_for_beta(page, "β = 100 ")
    page.wait_for_timeout(300)
    assert image_bytes(picture) != collapsed
