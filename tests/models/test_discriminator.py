"""The patch discriminator: what its docstring says of its shapes is what a gradient sees."""

import re

import torch

from course_utils.models.discriminator import PatchDiscriminator


def test_each_score_looks_at_the_patch_that_the_docstring_names():
    critic = PatchDiscriminator(width=4).eval()
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    scores = critic(x)
    (gradient,) = torch.autograd.grad(scores[0, 0, 7, 7], x)
    rows, columns = (gradient[0].abs().sum((0, d)).nonzero().flatten() for d in (2, 1))
    height, width = (int(i.max() - i.min()) + 1 for i in (rows, columns))
    named = [int(n) for n in re.findall(r"(\d+) × (\d+) pixels", PatchDiscriminator.__doc__)[0]]
    assert [height, width] == named
    assert f"(B, {', '.join(map(str, scores.shape[1:]))})" in PatchDiscriminator.__doc__
