"""CLIP as published: from the cache, from the network, or not at all."""

import pytest
import torch

from course_utils import runtime
from course_utils.external import official_clip
from course_utils.models.tokenizer import Tokenizer


@pytest.fixture
def tokenizer():
    return Tokenizer.train(["a bear", "a cat"], vocab_size=270, context_length=12)


def test_without_cache_and_network_there_is_none(monkeypatch):
    asked = []

    def refuse(host, seconds):
        asked.append((host, seconds))
        return False

    monkeypatch.setattr(official_clip, "_cached", lambda *names: False)
    monkeypatch.setattr(runtime, "reachable", refuse)
    assert official_clip.official_clip(seconds=0.5) is None
    assert asked == [("huggingface.co", 0.5)]


def test_a_download_that_breaks_is_none(monkeypatch):
    import open_clip

    def broken(*names, **options):
        raise OSError("connection reset")

    monkeypatch.setattr(official_clip, "_cached", lambda *names: False)
    monkeypatch.setattr(runtime, "reachable", lambda *host: True)
    monkeypatch.setattr(open_clip, "create_model_and_transforms", broken)
    assert official_clip.official_clip() is None


def test_cached_weights_are_used_without_a_look_at_the_network(monkeypatch, tokenizer):
    import open_clip

    def never(*host):
        raise AssertionError("the network was asked")

    class Published(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def encode_text(self, tokens):
            return self.scale * tokens.float()

        def encode_image(self, batch):
            return self.scale * batch.flatten(1)

    monkeypatch.setattr(official_clip, "_cached", lambda *names: True)
    monkeypatch.setattr(runtime, "reachable", never)
    made = (Published(), None, lambda image: torch.full((3, 2, 2), float(image.size[0])))
    monkeypatch.setattr(open_clip, "create_model_and_transforms", lambda *names, **options: made)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: tokenizer)
    official = official_clip.official_clip()
    assert not any(p.requires_grad for p in official.model.parameters())
    pictures = [torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 16, 16)]
    for emb in (official.encode_text(["a bear", "a cat"]), official.encode_image(pictures)):
        assert torch.allclose(emb.norm(dim=1), torch.ones(2))


def test_weights_that_the_library_does_not_know_are_refused():
    with pytest.raises(ValueError, match="weights: got 'mine' for ViT-B-32; expected one of openai"):
        official_clip.official_clip(weights="mine")
