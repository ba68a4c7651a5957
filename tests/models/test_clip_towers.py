"""CLIP's second tower, the library's own class around it, and the published model: found, or said not to be."""

import pytest
import torch
import torch.nn.functional as F

from course_utils import losses
from course_utils.models.clip import CLIP, CLIPConfig, ConvTower
from course_utils.models.tokenizer import Tokenizer

SMALL = CLIPConfig(embedding=16, image_width=16, text_width=16, heads=2)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(["a brown bear with a red hat", "a cat on a mint background"] * 3, 300, 16)


def test_another_image_tower_takes_the_vit_s_place(tokenizer):
    torch.manual_seed(0)
    tower = ConvTower(16, 8)
    clip = CLIP(tokenizer, SMALL, tower)
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert tower(x).shape == (3, 16)
    expected = F.normalize(clip.image_projection(tower(x)), dim=1)
    torch.testing.assert_close(clip.encode_image(x), expected)
    clip.encode_image(x).sum().backward()
    assert all(p.grad is not None for p in tower.parameters())


def test_the_loss_is_the_library_s():
    from open_clip import ClipLoss

    g = torch.Generator().manual_seed(0)
    u, c = (F.normalize(torch.randn(32, 16, generator=g), dim=1) for _ in range(2))
    scale = torch.tensor(2.66)
    theirs = ClipLoss()(u, c, scale.exp())
    torch.testing.assert_close(losses.contrastive(u, c, scale), theirs, atol=1e-6, rtol=0)


def test_the_library_s_class_learns_from_our_tokens(tokenizer):
    from open_clip.model import CLIP as LibraryCLIP
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    text = CLIPTextCfg(
        context_length=16, vocab_size=tokenizer.vocab_size, width=16, heads=2, layers=1, pool_type="eos",
        eos_id=tokenizer.end_id,
    )  # fmt: skip
    model = LibraryCLIP(16, CLIPVisionCfg(image_size=64, patch_size=16, width=64, layers=1), text)
    model.visual = torch.nn.Sequential(ConvTower(16, 8), torch.nn.Linear(16, 16, bias=False))
    x = torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ids = tokenizer(["a brown bear", "a red cat", "a bear on a mint background", "a hat"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    values = []
    for _ in range(25):
        u, c = F.normalize(model.encode_image(x), dim=-1), F.normalize(model.encode_text(ids), dim=-1)
        loss = losses.contrastive(u, c, model.logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[0] > 1.0
    assert values[-1] < 0.3
