"""Checkpoints that are read: whatever is damaged, foreign or out of place is refused by name."""

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save as save_bytes

from course_utils import checkpoints, sealed
from course_utils.checkpoints import CheckpointError
from course_utils.models.clip import CLIP, CLIPConfig
from course_utils.models.configured import LARGEST
from course_utils.models.denoiser import Denoiser
from course_utils.models.tokenizer import Tokenizer
from tests.checkpoint_files import (
    MODEL,
    WEIGHT,
    anything,
    broken_link,
    circular_link,
    crafted,
    device,
    directory,
    empty,
    endless_header,
    hole,
    nothing,
    page,
    pipe,
    posix,
    refused,
    save,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "x.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["vea", "vae.pt", "", "vae.safetensors.bak", None, 5])
def test_a_name_that_is_none(name):
    with pytest.raises(CheckpointError, match="not a checkpoint's name; expected one of judge"):
        checkpoints.load(name)


# What lies in the place of a file


PLACES = [
    (nothing, "is missing from"),
    (empty, "is damaged .*cut short after 0 bytes"),
    (page, "is damaged"),
    (directory, "a folder lies there"),
    (endless_header, "is damaged .*cut short"),
    pytest.param(pipe, "a pipe lies there", marks=posix),
    pytest.param(device, "a device lies there", marks=posix),
    pytest.param(broken_link, "is a link to a file that is missing", marks=posix),
    pytest.param(circular_link, "cannot be read", marks=posix),
    pytest.param(hole, "expected at most", marks=posix),
]


@pytest.mark.parametrize(("put", "says"), PLACES)
@pytest.mark.timeout(30)
def test_what_lies_in_the_place_of_a_file(put, says, own, tmp_path):
    put(tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors", says)
    (own / "denoiser.safetensors").unlink()
    put(own / "denoiser.safetensors")
    refused("denoiser", says)


@pytest.mark.parametrize("path", ["a\0b.safetensors", "n" * 300 + ".safetensors"])
def test_a_path_that_no_file_can_have(path):
    refused(path, "cannot be read")


def test_a_path_below_a_file_and_a_file_without_permission(own, tmp_path, monkeypatch):
    refused(own / "denoiser.safetensors" / "x.safetensors", "cannot be read|is missing")

    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    refused(own / "denoiser.safetensors", r"cannot be read \(Permission denied\)")
    refused("denoiser", r"cannot be read \(Permission denied\)")


def test_files_are_read_and_not_mapped(own, monkeypatch):
    import mmap

    import safetensors

    def no_maps(*args, **kwargs):
        raise OSError(19, "No such device")

    monkeypatch.setattr(mmap, "mmap", no_maps)
    monkeypatch.setattr(safetensors, "safe_open", no_maps)
    assert isinstance(checkpoints.load("denoiser", "cpu"), Denoiser)
    assert checkpoints.header("denoiser")["seed"] == 3


# What stands in a file


def foreign() -> bytes:
    return save_bytes({"w": torch.zeros(2)}, {"format": "pt"})


def without_digest(raw: bytes) -> bytes:
    from safetensors.torch import load

    return save_bytes(load(raw), {k: v for k, v in sealed.words(raw).items() if k != "digest"})


def with_header(header: object) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (foreign(), "is not a checkpoint of this course .format 'pt'"),
        (save_bytes({"w": torch.zeros(2)}), "is not a checkpoint of this course .format None"),
        (without_digest(crafted()), "carries no digest"),
        (crafted({"model": "unet"}), "is not a checkpoint of this course"),
        (with_header({"__metadata__": 5}), "is damaged"),
        (with_header({"__metadata__": {"format": 1}}), "is damaged"),
        (with_header([1, 2]), "is damaged"),
        (with_header("text"), "is damaged"),
        (with_header(b"{" * 10), "is damaged"),
        (with_header(b"[" * 100_000), "is damaged"),
        (with_header(b"\xff\xfe{}"), "is damaged"),
        (crafted({"seed": "three"}), "seed: is not in its header as JSON"),
        (crafted({"seed": None}), "seed: is not in its header"),
        (crafted({"seed": "true"}), "seed: got true; expected int"),
        (crafted({"metrics": "[1]"}), r"metrics: got \[1\]; expected dict"),
        (crafted({"metrics": "{'a': 1}"}), "metrics: is not in its header as JSON"),
        (crafted({"config": "["}), "config: is not in its header as JSON"),
        (crafted({"config": "[" * 100_000}), "config: is not in its header as JSON"),
        (crafted({"recipe": None}), "recipe: is not in its header"),
    ],
)
def test_words_that_are_not_a_checkpoint_s(raw, says, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw)
    refused(path, says)


def config(**changes) -> str:
    given = MODEL.config_dict() | changes
    return json.dumps({k: v for k, v in given.items() if v is not None})


@pytest.mark.parametrize("field", ["width", "depth", "heads", "patch", "channels", "side", "condition"])
@pytest.mark.parametrize("value", [0, -1, 10**9, 10**30, True, 1.5, 2.0, float("nan"), "8", [8], {}, None])
@pytest.mark.timeout(60)
def test_sizes_that_no_model_has(field, value, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted({"config": config(**{field: value})}))
    refused(path, rf"does not fit the course's denoiser \(({field}|config): got", [checkpoints.load])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"config": "{}"}, "config: got nothing; expected width, depth"),
        ({"config": "[]"}, "config: got"),
        ({"config": config(colour=3)}, "colour; expected width, depth"),
        ({"config": config(width=LARGEST)}, "config: asks for a far larger model"),
        ({"config": config(depth=LARGEST, width=64)}, "config: asks for a far larger model"),
        ({"config": config(heads=3)}, "heads: 3 does not divide width 8"),
        ({"config": config(width=6)}, "width: got 6; expected a multiple of 4"),
        ({"config": config(depth=2)}, "blocks.1.attention.out.bias is missing"),
        ({"config": config(patch=64)}, "expected torch.float16"),
        ({"model": "backbone"}, "expected nothing"),
        ({"model": "backbone", "config": "{}"}, "config: asks for a far larger model"),
        ({"model": "vae", "config": '{"widths": 8, "latent_channels": 4}'}, "widths: got 8; expected 3 integers"),
        ({"model": "vae", "config": '{"widths": [8, 8], "latent_channels": 4}'}, "widths: got .8, 8.; expected 3"),
        ({"model": "vae", "config": '{"widths": [8, 8, 0], "latent_channels": 4}'}, "widths: got"),
        ({"model": "vae", "config": '{"widths": [9, 8, 8], "latent_channels": 4}'}, "divisible"),
        ({"model": "vae", "config": '{"widths": [8, 8, 8], "latent_channels": 4}'}, "divisible"),
        ({"model": "kl_sweep", "config": '{"widths": [16, 16, 16, 16], "latent": 8}'}, "weights"),
        ({"model": "kl_sweep", "config": '{"weights": 7, "widths": [16, 16, 16, 16], "latent": 8}'}, "weights: got 7"),
        (
            {"model": "kl_sweep", "config": json.dumps({"weights": [0.0] * 10**5, "widths": [16] * 4, "latent": 8})},
            "weights: got .*up to 64",
        ),
        ({"model": "kl_sweep", "config": '{"weights": [0], "widths": [16, 16, 16], "latent": 8}'}, "expected 4 integers"),
        ({"model": "kl_sweep", "config": '{"weights": [0], "widths": [16, 16, 16], "latent_channels": 4}'}, "config: got"),
        ({"model": "clip", "config": "{}"}, "config"),
        ({"model": "clip", "config": json.dumps({"tokenizer": 5})}, "config"),
    ],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_configs_that_do_not_fit(words, says, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted(words))
    refused(path, says, [checkpoints.load])


@pytest.mark.parametrize(
    "tokenizer",
    [
        {"merges": 5, "context_length": 24},
        {"merges": [5], "context_length": 24},
        {"merges": [["a"]], "context_length": 24},
        {"merges": [[1, 2]], "context_length": 24},
        {"merges": [["nowhere", "to be found"]], "context_length": 24},
        {"merges": [], "context_length": 0},
        {"merges": [], "context_length": 10**12},
        {"merges": [], "context_length": "24"},
        {"merges": []},
        [],
    ],
)
def test_tokenizers_that_do_not_fit(tokenizer, tmp_path):
    sizes = {"embedding": 8, "image_width": 8, "image_depth": 1, "text_width": 8, "text_depth": 1, "heads": 2}
    small = CLIP(Tokenizer([]), CLIPConfig(**sizes))
    path = save(tmp_path / "x.safetensors", small, "clip")
    kept = {k: v.half() for k, v in small.state_dict().items()}
    words = sealed.words(path.read_bytes()) | {"config": json.dumps({**sizes, "tokenizer": tokenizer})}
    path.write_bytes(sealed.pack(kept, words))
    refused(path, "does not fit the course's clip", [checkpoints.load])


def bad_numbers(value):
    weight = torch.zeros(48, 8, dtype=torch.float16)
    weight[3, 4] = value
    return weight


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (torch.zeros(48, 8, dtype=torch.int8), "got torch.int8"),
        (torch.zeros(48, 8, dtype=torch.bool), "got torch.bool"),
        (torch.zeros(48, 8, dtype=torch.int64), "got torch.int64"),
        (torch.zeros(48, 8), "got torch.float32"),
        (torch.zeros(48, 8, dtype=torch.bfloat16), "got torch.bfloat16"),
        (torch.zeros(48, 8, dtype=torch.float64), "got torch.float64"),
        (torch.zeros(8, 48, dtype=torch.float16), r"expected torch.float16 \(48, 8\)"),
        (torch.zeros(0, dtype=torch.float16), r"got torch.float16 \(0,\)"),
        (None, f"{WEIGHT} is missing"),
        (bad_numbers(torch.nan), "values that are not finite"),
        (bad_numbers(torch.inf), "values that are not finite"),
        (bad_numbers(-torch.inf), "values that are not finite"),
    ],
)
def test_tensors_that_no_checkpoint_holds(tensor, says, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted(tensors={WEIGHT: tensor}))
    refused(path, says, [checkpoints.load])


def test_a_tensor_too_many(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted(tensors={"blocks.7.w": torch.zeros(1, dtype=torch.float16)}))
    refused(path, "blocks.7.w has no place in it", [checkpoints.load])


def test_400_flipped_bits_by_name_and_by_path(own):
    """Half of them in the header, which is the smaller part."""
    path = own / "denoiser.safetensors"
    raw = path.read_bytes()
    size = 8 + struct.unpack("<Q", raw[:8])[0]
    draw = random.Random(0)
    places = [draw.randrange(8 * size) for _ in range(200)] + [
        draw.randrange(8 * size, 8 * len(raw)) for _ in range(200)
    ]
    for place in places:
        flipped = bytearray(raw)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        for name in ("denoiser", path):
            with pytest.raises(CheckpointError, match="denoiser.safetensors"):
                checkpoints.load(name, "cpu")
    path.write_bytes(raw)
    checkpoints.load("denoiser", "cpu")


@anything
@given(data=st.data())
def test_any_change_of_a_file_is_refused(data, tmp_path, whole):
    """Cut, extended, overwritten, moved: whatever is not the file is refused, and with no other error."""
    kind = data.draw(st.sampled_from(["cut", "add", "write", "drop", "random"]))
    at = data.draw(st.integers(0, len(whole) - 1))
    some = data.draw(st.binary(min_size=1, max_size=64))
    changed = {
        "cut": whole[:at],
        "add": whole + some,
        "write": whole[:at] + some + whole[at + len(some) :],
        "drop": whole[:at] + whole[at + len(some) :],
        "random": some,
    }[kind]
    path = tmp_path / "x.safetensors"
    path.write_bytes(changed)
    if changed != whole:
        refused(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@anything
@given(key=st.sampled_from(["config", "metrics", "seed", "recipe", "model", "format"]), value=json_values)
def test_any_word_in_a_header_is_taken_for_what_it_is_or_refused(key, value, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted({key: json.dumps(value)}))
    try:
        about = checkpoints.header(path)
        checkpoints.load(path, "cpu")
    except CheckpointError:
        refused(path, readers=[checkpoints.load])
    else:
        assert json.dumps(about[key]) == json.dumps(value) or key == "recipe"


@anything
@given(changes=st.dictionaries(st.sampled_from(sorted(MODEL.config_dict())), json_values, min_size=1))
def test_any_config_is_that_of_the_file_or_refused(changes, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(crafted({"config": config(**changes)}))
    try:
        model = checkpoints.load(path, "cpu")
    except CheckpointError:
        refused(path, readers=[checkpoints.load])
    else:
        assert model.config_dict() == json.loads(config(**changes))


def test_a_package_that_is_missing_is_no_fault_of_the_file(tmp_path, monkeypatch):
    path = save(tmp_path / "x.safetensors")

    def needs_more(config):
        raise ImportError("No module named 'torchvision'")

    monkeypatch.setattr(Denoiser, "from_config", needs_more)
    with pytest.raises(ImportError, match="torchvision"):
        checkpoints.load(path)
