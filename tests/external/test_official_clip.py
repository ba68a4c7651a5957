"""CLIP as published: from this machine, from the network when asked for, or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from functools import lru_cache

import pytest
import torch
from safetensors.torch import save

from course_utils import runtime
from course_utils.external import official_clip as module
from course_utils.external.official_clip import library_weights, official_clip
from tests.external import servers

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda *_, **__: None)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of open_clip's that is small enough for tests, with weights as the published file holds them."""
    import open_clip

    config = tmp_path_factory.mktemp("config") / "course-tiny.json"
    config.write_text(json.dumps(TINY))
    open_clip.add_model_config(config)
    torch.manual_seed(0)
    model = open_clip.create_model("course-tiny")
    return model, save({name: w.contiguous() for name, w in model.state_dict().items()})


@pytest.fixture
def published(monkeypatch, tiny):
    """The tiny model stands where the published one is; returns it and its file."""
    model, raw = tiny
    monkeypatch.setattr(module, "MODEL", "course-tiny")
    digest = hashlib.sha256(raw).hexdigest()
    monkeypatch.setattr(module, "FILE", dataclasses.replace(module.FILE, size=len(raw), sha256=digest))
    return model, raw


def test_the_pinned_file():
    assert module.FILE.url.endswith(
        "/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/1a25a446712ba5ee05982a381eed697ef9b435cf/open_clip_model.safetensors"
    )
    assert str(module.FILE) == "The published weights of CLIP ViT-B/32 (605 MB)"
    assert len(bytes.fromhex(module.FILE.sha256)) == 32


def test_unasked_the_line_is_the_same_with_and_without_a_network(monkeypatch, capsys):
    for there in (False, True):
        monkeypatch.setattr(runtime, "reachable", lambda *_, there=there: there)
        assert official_clip() is None
        assert capsys.readouterr() == (
            "The published weights of CLIP ViT-B/32 (605 MB) are not on this machine;"
            f" `official_clip(download=True)` fetches them once from {module.FILE.host}.\n",
            "",
        )


def test_asked_without_a_network_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(runtime, "reachable", lru_cache(lambda host, seconds: False))
    assert official_clip(download=True, seconds=0.5) is None
    assert "could not be fetched: " in capsys.readouterr().out


def test_fetched_when_asked_and_then_used_as_it_is(monkeypatch, published, cache, capsys):
    model, raw = published
    monkeypatch.setattr(runtime, "reachable", lru_cache(lambda host, seconds: True))
    monkeypatch.setattr(runtime, "device", lambda: torch.device("cpu"))
    with servers.serving(raw) as server:
        file = dataclasses.replace(module.FILE, url=f"http://{server.host}/{module.FILE.name}")
        monkeypatch.setattr(module, "FILE", file)
        assert official_clip(download=True) is not None
    assert (cache / "open_clip_model.safetensors").read_bytes() == raw
    capsys.readouterr()
    official = official_clip()
    assert capsys.readouterr() == ("", "")
    assert not official.model.training
    assert not any(p.requires_grad for p in official.model.parameters())
    for name, w in model.state_dict().items():
        assert torch.equal(w, official.model.state_dict()[name])
    pictures = [torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 16, 16)]
    for emb in (official.encode_text(["a bear", "a cat"]), official.encode_image(pictures)):
        assert emb.shape == (2, 16)
        assert torch.allclose(emb.norm(dim=1), torch.ones(2))


def test_a_library_s_model_has_as_many_weights_as_when_it_is_built(tiny):
    model, _ = tiny
    assert library_weights("course-tiny") == sum(p.numel() for p in model.parameters())


def test_the_published_models_have_as_many_weights_as_is_known():
    assert library_weights("ViT-B-32") == 151_277_313  # open_clip's docs/model_profile.csv: 151.28 and 427.62 million
    assert library_weights("ViT-L-14") == 427_616_513


@pytest.mark.parametrize("name", ["ViT-B-33", "xlm-roberta-base-ViT-B-32", "convnext_base", "coca_ViT-B-32"])
def test_weights_of_what_is_no_plain_clip_are_not_counted(name):
    with pytest.raises(ValueError, match=f"name: got '{name}'; expected a plain CLIP"):
        library_weights(name)


def test_the_hubs_cache_is_used_and_checked(monkeypatch, published, tmp_path, capsys):
    _, raw = published
    hub = tmp_path / "snapshot.safetensors"
    hub.write_bytes(raw)
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda *_, **__: str(hub))
    assert official_clip() is not None
    hub.write_bytes(raw[:-1] + b"?")
    assert official_clip() is None
    assert "snapshot.safetensors is damaged" in capsys.readouterr().out

    def locked(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "try_to_load_from_cache", locked)
    assert official_clip() is None


def test_without_a_home(tmp_path):
    """The whole way in a process that has no home folder and may write nowhere."""
    (tmp_path / "file").write_text("")
    code = "from course_utils.external.official_clip import official_clip; print(official_clip(download=True))"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "XDG_"))}
    environment |= {"HOME": str(tmp_path / "none"), "COURSE_CACHE": str(tmp_path / "file" / "below")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.count("\n") == 2
    assert "there is no folder to keep them in" in done.stdout
