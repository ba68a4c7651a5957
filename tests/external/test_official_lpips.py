"""The official LPIPS: from this machine, from the network when asked for, and never something else."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from functools import lru_cache

import pytest
import torch

from course_utils import runtime
from course_utils.external import official_lpips as module
from course_utils.models import perceptual
from tests.external import servers


@pytest.fixture
def published(monkeypatch, tmp_path):
    """SqueezeNet with random weights, as if it were the published file, on a server of its own; yields the server."""
    from torchvision.models import squeezenet1_1

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(runtime, "reachable", lru_cache(lambda host, seconds: True))
    torch.manual_seed(0)
    saved = io.BytesIO()
    torch.save(squeezenet1_1(weights=None).state_dict(), saved)
    raw = saved.getvalue()
    with servers.serving(raw) as server:
        file = dataclasses.replace(
            module.FILE,
            url=f"http://{server.host}/{module.FILE.name}",
            size=len(raw),
            sha256=hashlib.sha256(raw).hexdigest(),
        )
        monkeypatch.setattr(module, "FILE", file)
        yield server


def test_the_name_holds_the_first_digits_of_the_digest():
    assert module.FILE.name == f"squeezenet1_1-{module.FILE.sha256[:8]}.pth"
    assert len(bytes.fromhex(module.FILE.sha256)) == 32


def test_fetched_when_asked_and_then_from_the_cache(published, capsys):
    assert module.official_lpips() is None
    out = capsys.readouterr().out
    assert "`official_lpips(download=True)` fetches them once from" in out
    assert out.count("\n") == 1
    assert published.asked == []
    net = module.official_lpips(download=True)
    capsys.readouterr()
    again = module.official_lpips()
    assert capsys.readouterr() == ("", "")
    assert published.asked == [0]
    x, y = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(net(x, y), again(x, y))
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.training
    # By hand: the package's learned channel weights on squared differences of unit-length features.
    import lpips

    f, g = (net.net(net.scaling_layer(v)) for v in (x, y))
    weights = perceptual.channel_weights(net)
    parts = [
        ((lpips.normalize_tensor(a) - lpips.normalize_tensor(b)) ** 2 * w[None, :, None, None]).sum(1).mean((1, 2))
        for a, b, w in zip(f, g, weights, strict=True)
    ]
    torch.testing.assert_close(sum(parts), net(x, y).flatten())
    assert min(float(w.min()) for w in weights) >= 0
    assert max(float(w.max()) for w in weights) != 1


def test_torchs_own_cache_is_used(published, tmp_path):
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / module.FILE.name).write_bytes(published.content)
    assert module.official_lpips() is not None
    assert published.asked == []


def test_another_file_is_not_used_and_not_kept(published, tmp_path, capsys):
    published.content = published.content[::-1]
    assert module.official_lpips(download=True) is None
    assert "SHA-256 is not the published one; nothing is kept" in capsys.readouterr().out
    assert not (tmp_path / "cache" / module.FILE.name).exists()


def test_the_courses_own_network_counts_every_channel_once():
    net = perceptual.lpips_network(perceptual.Backbone())
    weights = perceptual.channel_weights(net)
    assert [len(w) for w in weights] == [64, 128, 256, 384, 384, 512, 512]
    assert all(bool((w == 1).all()) for w in weights)
