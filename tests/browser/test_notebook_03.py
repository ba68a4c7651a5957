"""Notebook 03 as a student uses it: run all cells, take the blind test with mouse and keyboard."""

from __future__ import annotations

from tests.browser.conftest import clear_outputs, image_bytes, open_notebook, run_all, screenshot

NOTEBOOK = "03_sharper_decoders.ipynb"


def test_the_blind_test_keeps_score(page, lab):
    open_notebook(page, lab, NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    test = page.locator(".blind-test").first
    test.wait_for()
    test.evaluate("e => e.scrollIntoView({block: 'center'})")
    left = test.locator("img.blind-left").first
    before = image_bytes(left)
    assert before[:4] == b"\x89PNG"
    assert "decoder" not in test.locator(".blind-verdict").first.text_content(), "nothing is told before the answer"
    assert "Question 1" in test.locator(".blind-status").first.text_content()

    test.locator("button").nth(0).click()
    told(page, "Question 2")
    assert "the other was made by the decoder" in test.locator(".blind-verdict").first.text_content()
    assert image_bytes(left) != before, "the next pair is shown"

    test.locator("button").nth(1).focus()
    for number in (3, 4):
        page.keyboard.press("Enter")
        told(page, f"Question {number}")
    score = test.locator(".blind-score").first.text_content()
    assert (score.count(" of 1"), score.count(" of 0")) == (3, 1), "four decoders take turns"
    screenshot(page, "03_blind_test")


def told(page, text: str) -> None:
    """Wait until the status line says `text`. Its element is new each time."""
    page.wait_for_function(
        "text => document.querySelector('.blind-test .blind-status')?.textContent.includes(text)",
        arg=text,
        polling=10,
    )
