"""Torch's block with the course's weights computes what the course's block does, and shares nothing with it."""

import pytest
import torch

from course_utils.external.torch_block import torch_block
from course_utils.models.layers import Block


@pytest.mark.parametrize("causal", [False, True])
def test_it_computes_what_the_block_does(causal):
    torch.manual_seed(0)
    ours, x = Block(32, 4, causal), torch.randn(2, 7, 32)
    later = torch.ones(7, 7).triu(1).bool() if causal else None
    torch.testing.assert_close(torch_block(ours)(x, src_mask=later), ours(x), atol=1e-5, rtol=1e-5)


def test_it_is_a_copy():
    ours, x = Block(32, 4), torch.randn(2, 7, 32)
    theirs = torch_block(ours)
    before = theirs(x)
    with torch.no_grad():
        ours.mlp[0].weight.zero_()
    torch.testing.assert_close(theirs(x), before)


def test_something_else_is_refused():
    with pytest.raises(TypeError, match="block: got Linear; expected a Block"):
        torch_block(torch.nn.Linear(3, 3))
