"""The manifest of the course's own checkpoints: they must be listed, and be what is listed."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_utils import checkpoints
from course_utils.checkpoints import CheckpointError
from tests.checkpoint_files import (
    anything,
    circular_link,
    device,
    directory,
    hole,
    pipe,
    posix,
    refused,
    save,
    tiny,
)


def change(**changes):
    def edit(listed: dict) -> dict:
        return {"denoiser.safetensors": listed["denoiser.safetensors"] | changes}

    return edit


def without(key):
    return lambda listed: {
        "denoiser.safetensors": {k: v for k, v in listed["denoiser.safetensors"].items() if k != key}
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is damaged .it is not JSON"),
        ("<!doctype html>", "is damaged .it is not JSON"),
        ("[" * 100_000, "is damaged .it is not JSON"),
        (b"\xff\xfe\x00", "is damaged .it is not JSON"),
        ("[]", "is damaged .expected a file's sha256"),
        ("5", "is damaged"),
        ("null", "is damaged"),
        ('{"denoiser.safetensors": "abc"}', "is damaged"),
        ('{"denoiser.safetensors": null}', "is damaged"),
        ('{"denoiser.safetensors": []}', "is damaged"),
        (without("sha256"), "is damaged"),
        (without("bytes"), "is damaged"),
        (without("metrics"), "is damaged"),
        (change(bytes="5"), "is damaged"),
        (change(bytes=True), "is damaged"),
        (change(metrics=[]), "is damaged"),
        (change(sha256=None), "is damaged"),
        (change(bytes=5), "denoiser.safetensors does not match data/checkpoints/manifest.json"),
        (change(sha256="0" * 64), "denoiser.safetensors does not match data/checkpoints/manifest.json"),
        (change(metrics={"loss": 0.5}), "denoiser.safetensors does not match data/checkpoints/manifest.json"),
        (change(recipe="another"), "denoiser.safetensors does not match data/checkpoints/manifest.json"),
        ("{}", "denoiser.safetensors is not listed in data/checkpoints/manifest.json"),
        (None, "manifest.json is missing"),
    ],
)
def test_a_manifest_that_cannot_be_relied_on(text, says, own):
    path = own / "manifest.json"
    if callable(text):
        text = json.dumps(text(json.loads(path.read_text(encoding="utf-8"))))
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (checkpoints.load, checkpoints.header):
        with pytest.raises(CheckpointError, match=says) as error:
            read("denoiser")
        assert "git checkout data/checkpoints" in str(error.value)
    checkpoints.load(own / "denoiser.safetensors", "cpu")  # by its path it is a file like any other
    if "manifest" in says.split()[0] and text is not None:
        with pytest.raises(CheckpointError, match=says):
            save(own / "denoiser.safetensors", recipe="second")
        assert checkpoints.header(own / "denoiser.safetensors")["recipe"] == "test", "nothing is half-written"


@posix
@pytest.mark.timeout(30)
@pytest.mark.parametrize("put", [directory, pipe, device, circular_link, hole])
def test_what_lies_in_the_place_of_the_manifest(put, own):
    (own / "manifest.json").unlink()
    put(own / "manifest.json")
    with pytest.raises(CheckpointError, match=r"manifest.json cannot be read .*git checkout"):
        checkpoints.load("denoiser")


@anything
@given(data=st.data())
def test_any_change_of_the_manifest_s_line_is_refused(data, own):
    path = own / "manifest.json"
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    path.write_bytes(before[:at] + data.draw(st.binary(max_size=4)) + before[at + data.draw(st.integers(0, 8)) :])
    try:
        found, kept = (json.dumps(json.loads(text), sort_keys=True) for text in (path.read_bytes(), before))
        same = found == kept  # as text: 1 equals 1.0, and is another number in a file
    except (ValueError, RecursionError):
        same = False
    try:
        checkpoints.load("denoiser", "cpu")
    except CheckpointError:
        assert not same
    else:
        assert same
    finally:
        path.write_bytes(before)


def test_another_whole_checkpoint_in_the_place_of_the_course_s_own(own, tmp_path):
    other = save(tmp_path / "mine.safetensors", tiny(), recipe="mine")
    shutil.copy(other, own / "denoiser.safetensors")
    refused("denoiser", "denoiser.safetensors does not match data/checkpoints/manifest.json; `git checkout")
    checkpoints.load(other, "cpu")
    save(own / "diffusion.safetensors", name="diffusion")
    shutil.copy(own / "diffusion.safetensors", own / "denoiser.safetensors")
    listed = checkpoints.manifest()
    listed["denoiser.safetensors"] = listed["diffusion.safetensors"]
    (own / "manifest.json").write_text(json.dumps(listed), encoding="utf-8")
    refused("denoiser", "denoiser.safetensors holds a diffusion, expected a denoiser")
