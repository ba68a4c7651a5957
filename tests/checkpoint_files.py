"""What the tests of checkpoints share: a tiny model, files made of it, and what can lie in a file's place."""

import json
import os
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

from course_utils import checkpoints, sealed
from course_utils.checkpoints import CheckpointError
from course_utils.models.denoiser import Denoiser, DenoiserConfig

TINY = DenoiserConfig(width=8, depth=1, heads=2, condition=4)
posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and devices in a folder are POSIX's")
anything = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tiny(config: DenoiserConfig = TINY) -> Denoiser:
    torch.manual_seed(0)
    model = Denoiser(config)
    for p in model.parameters():
        nn.init.normal_(p)
    return model


MODEL = tiny()
WEIGHT = "blocks.0.modulation.weight"


def save(path: Path, model: nn.Module | None = None, name: str = "denoiser", **changes) -> Path:
    words = {"recipe": "test", "metrics": {"loss": 1.0}, "seed": 3} | changes
    return checkpoints.save(model or MODEL, path, name=name, **words)


def crafted(words: dict | None = None, tensors: dict | None = None) -> bytes:
    """A file with a digest of its own, of the tiny denoiser but for what is given; None leaves an entry out."""
    about = {"format": checkpoints.FORMAT, "model": "denoiser", "config": json.dumps(MODEL.config_dict())}
    about |= {"metrics": "{}", "seed": "0", "recipe": ""} | (words or {})
    kept = {k: v.half() for k, v in MODEL.state_dict().items()} | (tensors or {})
    return sealed.pack(
        {k: v for k, v in kept.items() if v is not None}, {k: v for k, v in about.items() if v is not None}
    )


def refused(path: Path | str, says: str = ".", readers=(checkpoints.load, checkpoints.header)) -> None:
    """A file is refused in a line that names it and says what to do."""
    for read in readers:
        with pytest.raises(CheckpointError, match=says) as error:
            read(path)
        text = str(error.value)
        assert Path(path).name in text
        assert ";" in text, "a cure follows"
        assert "\n" not in text


def nothing(path):
    pass


def empty(path):
    path.write_bytes(b"")


def page(path):
    path.write_bytes(b"<!doctype html><title>Log in to the network</title>")


def directory(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def broken_link(path):
    path.symlink_to(path.with_name("gone.safetensors"))


def circular_link(path):
    path.symlink_to(path.with_name("other"))
    path.with_name("other").symlink_to(path)


def endless_header(path):
    path.write_bytes(struct.pack("<Q", 2**60) + b"{}")


def hole(path):
    with open(path, "wb") as file:
        file.truncate(2**40)
