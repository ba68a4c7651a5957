"""`claim` prints one line with its verdict, and takes nothing that is no verdict."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_utils.lab.claims import claim


@pytest.mark.parametrize("verdict", [True, np.True_, torch.tensor(True), torch.tensor([True]), np.array([True])])
def test_a_claim_that_holds(verdict, capsys):
    claim("more light, less shadow", verdict)
    assert capsys.readouterr().out == "✓ more light, less shadow\n"


@pytest.mark.parametrize("verdict", [False, np.False_, torch.tensor(False), torch.tensor(1.0) > 2])
def test_a_claim_that_does_not(verdict, capsys):
    claim("more light, less shadow", verdict)
    assert capsys.readouterr().out == "✗ more light, less shadow (not in this run)\n"


@pytest.mark.parametrize("verdict", [0.3, 1, None, "yes", torch.tensor(0.3), torch.tensor([True, True]), np.float64(1)])
def test_what_is_no_verdict(verdict, capsys):
    with pytest.raises(TypeError, match="verdict: got"):
        claim("more light, less shadow", verdict)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("sentence", ["", "  ", "two\nlines"])
def test_what_is_no_sentence(sentence):
    with pytest.raises(ValueError, match="sentence"):
        claim(sentence, True)


def test_a_sentence_is_text():
    with pytest.raises((TypeError, ValueError), match="sentence"):
        claim(3, True)  # type: ignore[arg-type]
