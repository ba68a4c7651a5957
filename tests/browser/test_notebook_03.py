"""Notebook 03 as a student uses it: run all cells, take the blind test with mouse and keyboard."""

from __future__ import annotations

from tests.browser.lab import come_to, image_bytes, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "03_sharper_decoders.ipynb"
STATUS = ".blind-test .blind-status"


def test_the_blind_test_keeps_score(notebook):
    test = notebook.locator(".blind-test").first
    left = test.locator("img.blind-left").first
    left.wait_for(state="visible")
    come_to(notebook, test)
    before = image_bytes(left)
    assert before[:4] == b"\x89PNG"
    assert "decoder" not in test.locator(".blind-verdict").first.text_content(), "nothing is told before the answer"
    assert "Question 1" in test.locator(".blind-status").first.text_content()

    test.locator("button").nth(0).click()
    wait_for_text(notebook, STATUS, "Question 2")
    assert "the other was made by the decoder" in test.locator(".blind-verdict").first.text_content()
    wait_for_change(notebook, left, before)

    test.locator("button").nth(1).focus()
    for number in (3, 4):
        notebook.keyboard.press("Enter")
        wait_for_text(notebook, STATUS, f"Question {number}")
    score = test.locator(".blind-score").first.text_content()
    assert (score.count(" of 1"), score.count(" of 0")) == (3, 1), "four decoders take turns"
    screenshot(notebook, "03_blind_test")
