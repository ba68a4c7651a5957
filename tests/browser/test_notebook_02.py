"""Notebook 02 as a student uses it: predict, watch the toy VAE, drag its weight, then drag that of the sweep."""

from __future__ import annotations

from tests.browser.lab import come_to, drag, image_bytes, press, screenshot, wait_for_change, wait_for_text

NOTEBOOK = "02_vae_and_kl.ipynb"
LABEL = ".kl-slider .kl-label b"


def test_the_notebook(notebook):
    a_prediction_is_locked_and_judged(notebook)
    the_toy_follows_its_slider(notebook)
    dragging_the_weight_changes_the_pictures(notebook)


def a_prediction_is_locked_and_judged(notebook):
    question, verdict = notebook.locator(".prediction").first, notebook.locator(".prediction-verdict").first
    come_to(notebook, question)
    answers = question.locator("button")
    assert answers.count() == 4
    assert "The answer: 81 times" in verdict.text_content(), "Run All tells it to whoever has not answered"
    screenshot(notebook, "02_question")
    answers.nth(0).focus()
    notebook.keyboard.press("Tab")
    notebook.keyboard.press("Enter")
    wait_for_text(notebook, ".prediction-said", "You said: random noise")
    assert answers.nth(0).is_disabled()
    wait_for_text(notebook, ".prediction-verdict", "✗ You said: random noise. The answer: 81 times", at_start=True)
    screenshot(notebook, "02_locked")
    come_to(notebook, verdict)
    screenshot(notebook, "02_verdict")


def the_toy_follows_its_slider(notebook):
    toy = notebook.locator(".toy-vae").first
    come_to(notebook, toy)
    wait_for_text(notebook, ".toy-vae .toy-label b", "β = 1")
    picture = toy.locator("img.toy-pictures").first
    before = image_bytes(picture)
    screenshot(notebook, "02_toy")
    press(notebook, toy, "ArrowRight", "ArrowRight")
    wait_for_text(notebook, ".toy-vae .toy-label b", "β = 64")
    wait_for_change(notebook, picture, before)
    assert "KL 0.00 nats per picture" in toy.text_content()
    screenshot(notebook, "02_toy_collapsed")


def dragging_the_weight_changes_the_pictures(notebook):
    slider = notebook.locator(".kl-slider").first
    picture = slider.locator("img.kl-pictures").first
    picture.wait_for(state="visible")
    wait_for_text(notebook, LABEL, "β = ", at_start=True)
    come_to(notebook, slider)
    before = image_bytes(picture)
    assert before[:2] == b"\xff\xd8", "the pictures arrive as a JPEG"
    screenshot(notebook, "02_before")

    drag(notebook, slider, (0.2, 0.7, 0.4, 1.0))
    wait_for_text(notebook, LABEL, "β = 100 ", at_start=True)
    strongest = wait_for_change(notebook, picture, before)
    assert "of 64 dimensions active" in slider.text_content()
    screenshot(notebook, "02_after")

    press(notebook, slider, "ArrowLeft")
    wait_for_text(notebook, LABEL, "β = 10 ", at_start=True)
    wait_for_change(notebook, picture, strongest)
