"""The official LPIPS: from the cache or the network, and never something else. No test leaves the machine."""

import hashlib
import io
import urllib.error

import pytest
import torch

from course_utils.external import official_lpips as module
from course_utils.models import perceptual


@pytest.fixture
def published(monkeypatch, tmp_path):
    """SqueezeNet with random weights, as if it were the published file; returns its bytes."""
    from torchvision.models import squeezenet1_1

    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    torch.manual_seed(0)
    file = io.BytesIO()
    torch.save(squeezenet1_1(weights=None).state_dict(), file)
    digest = hashlib.sha256(file.getvalue()).hexdigest()[:8]
    monkeypatch.setattr(module, "OFFICIAL_URL", f"https://example.org/squeezenet1_1-{digest}.pth")
    return file.getvalue()


def serve(monkeypatch, raw):
    calls = []

    def urlopen(url, timeout):
        calls.append((url, timeout))
        if isinstance(raw, Exception):
            raise raw
        return io.BytesIO(raw)

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    return calls


def test_fetched_once_and_then_from_the_cache(published, monkeypatch):
    calls = serve(monkeypatch, published)
    net = module.official_lpips(seconds=2)
    again = module.official_lpips(seconds=2)
    assert [timeout for _, timeout in calls] == [2]
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


@pytest.mark.parametrize("failure", [urllib.error.URLError("no route"), TimeoutError(), ConnectionResetError()])
def test_out_of_reach_is_none(published, monkeypatch, failure):
    serve(monkeypatch, failure)
    assert module.official_lpips(seconds=0.1) is None


def test_another_file_is_not_used_and_not_kept(published, monkeypatch, tmp_path):
    serve(monkeypatch, b"<html>please log in</html>")
    assert module.official_lpips() is None
    assert not list(tmp_path.iterdir())


def test_the_courses_own_network_counts_every_channel_once():
    net = perceptual.lpips_network(perceptual.Backbone())
    weights = perceptual.channel_weights(net)
    assert [len(w) for w in weights] == [64, 128, 256, 384, 384, 512, 512]
    assert all(bool((w == 1).all()) for w in weights)
