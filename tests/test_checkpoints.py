"""Checkpoints: what is saved comes back, and whatever is damaged, foreign or out of place is refused by name."""

import json
import os
import random
import shutil
import stat
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_bytes
from torch import nn

from course_utils import checkpoints, files, sealed
from course_utils.checkpoints import CheckpointError
from course_utils.models.autoencoder import VAE, VAEConfig, VAESweep
from course_utils.models.clip import CLIP, CLIPConfig
from course_utils.models.configured import LARGEST
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.models.tokenizer import Tokenizer

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


def save(path: Path, model: nn.Module | None = None, name: str = "denoiser", **changes) -> Path:
    words = {"recipe": "test", "metrics": {"loss": 1.0}, "seed": 3} | changes
    return checkpoints.save(model or MODEL, path, name=name, **words)


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A folder that stands for data/checkpoints, with one checkpoint, in a folder called checkpoints."""
    folder = tmp_path / "checkpoints"
    monkeypatch.setattr(checkpoints, "folder", lambda: folder)
    save(folder / "denoiser.safetensors")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    return save(tmp_path_factory.mktemp("whole") / "x.safetensors").read_bytes()


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


def test_what_is_saved_comes_back(tmp_path):
    model = tiny()
    path = save(tmp_path / "new" / "folder" / "x.safetensors", model)
    about, again = checkpoints.header(path), checkpoints.load(path, "cpu")
    assert about["config"] == model.config_dict()
    assert (about["recipe"], about["metrics"], about["seed"], about["model"]) == ("test", {"loss": 1.0}, 3, "denoiser")
    for key, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], value.half().float())
    assert not again.training
    assert list(path.parent.iterdir()) == [path], "nothing else is left"


def test_loading_draws_the_random_numbers_that_building_the_model_draws(tmp_path):
    path = save(tmp_path / "x.safetensors")
    torch.manual_seed(5)
    Denoiser(TINY)
    after = torch.rand(1)
    torch.manual_seed(5)
    checkpoints.load(path, "cpu")
    assert torch.equal(torch.rand(1), after)


@pytest.mark.parametrize("name", list(checkpoints.MODELS))
def test_shipped_checkpoints_are_whole_and_listed(name):
    entry = checkpoints.manifest()[f"{name}.safetensors"]
    assert checkpoints.path_of(name).stat().st_size == entry["bytes"]
    model = checkpoints.load(name, "cpu")
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert checkpoints.header(name)["metrics"] == entry["metrics"]
    checkpoints.load(checkpoints.path_of(name), "cpu")


def test_shipped_checkpoints_fit_in_25_megabytes():
    assert sum(p.stat().st_size for p in checkpoints.folder().glob("*.safetensors")) <= 25e6


@pytest.mark.parametrize("name", ["vea", "vae.pt", "", "vae.safetensors.bak", None, 5])
def test_a_name_that_is_none(name):
    with pytest.raises(CheckpointError, match="not a checkpoint's name; expected one of judge"):
        checkpoints.load(name)


# What lies in the place of a file


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
        ({"config": config(width=LARGEST)}, "it asks for a far larger model"),
        ({"config": config(depth=LARGEST, width=64)}, "it asks for a far larger model"),
        ({"config": config(heads=3)}, "heads: 3 does not divide width 8"),
        ({"config": config(width=6)}, "width: got 6; expected a multiple of 4"),
        ({"config": config(depth=2)}, "blocks.1.attention.out.bias is missing"),
        ({"config": config(patch=64)}, "expected torch.float16"),
        ({"model": "backbone"}, "expected nothing"),
        ({"model": "backbone", "config": "{}"}, "it asks for a far larger model"),
        ({"model": "vae", "config": '{"widths": 8, "latent_channels": 4}'}, "widths: got 8; expected 3 integers"),
        ({"model": "vae", "config": '{"widths": [8, 8], "latent_channels": 4}'}, "widths: got .8, 8.; expected 3"),
        ({"model": "vae", "config": '{"widths": [8, 8, 0], "latent_channels": 4}'}, "widths: got"),
        ({"model": "vae", "config": '{"widths": [9, 8, 8], "latent_channels": 4}'}, "divisible"),
        ({"model": "kl_sweep", "config": '{"widths": [8, 8, 8], "latent_channels": 4}'}, "weights"),
        ({"model": "kl_sweep", "config": '{"weights": 7, "widths": [8, 8, 8], "latent_channels": 4}'}, "weights: got 7"),
        (
            {"model": "kl_sweep", "config": json.dumps({"weights": [0.0] * 10**5, "widths": [8] * 3, "latent_channels": 4})},
            "weights: got .*up to 64",
        ),
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


WEIGHT = "blocks.0.modulation.weight"


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


# The manifest


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
        same = json.loads(path.read_bytes()) == json.loads(before)
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


# Saving


def test_a_relative_path_into_the_folder_is_listed_too(own, monkeypatch):
    monkeypatch.chdir(own)
    save(Path("diffusion.safetensors"), name="diffusion")
    assert list(checkpoints.manifest()) == ["denoiser.safetensors", "diffusion.safetensors"]
    assert isinstance(checkpoints.load("diffusion", "cpu"), Denoiser)
    with pytest.raises(ValueError, match="name: got 'denoiser' for the course's own vae.safetensors"):
        save(Path("vae.safetensors"))
    save(Path("mine.safetensors"))
    assert "mine.safetensors" not in checkpoints.manifest(), "only the course's own are listed"


def test_metrics_that_are_not_numbers_come_back(own):
    save(own / "denoiser.safetensors", metrics={"fid": float("nan"), 0.1: {"psnr": float("inf")}})
    assert checkpoints.header("denoiser")["metrics"]["0.1"] == {"psnr": float("inf")}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (1e5, f"{WEIGHT} cannot be kept, its largest value is 1e.05, beyond float16's 65504"),
        (-65520.0, f"{WEIGHT} cannot be kept, its largest value is 6.55e.04"),
        (float("nan"), f"{WEIGHT} cannot be kept, it holds values that are not finite"),
        (float("inf"), f"{WEIGHT} cannot be kept, it holds values that are not finite"),
    ],
)
def test_weights_that_float16_cannot_hold_are_not_written(value, says, tmp_path):
    path = save(tmp_path / "x.safetensors", recipe="first")
    model = tiny()
    with torch.no_grad():
        model.blocks[0].modulation.weight[1, 2] = value
    with pytest.raises(CheckpointError, match=says):
        save(path, model, recipe="second")
    assert checkpoints.header(path)["recipe"] == "first"
    with torch.no_grad():
        model.blocks[0].modulation.weight[1, 2] = 65504.0
    assert checkpoints.load(save(path, model), "cpu").blocks[0].modulation.weight[1, 2] == 65504.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "unet"}, "name: got 'unet'; expected one of judge"),
        ({"name": "vae"}, "model: got Denoiser; expected a VAE"),
        ({"metrics": {"loss": torch.tensor(1.0)}}, "metrics: got"),
        ({"metrics": [1]}, "metrics: got"),
        ({"seed": "3"}, "seed: got"),
        ({"seed": 1.5}, "seed: got"),
        ({"recipe": None}, "recipe: got"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(changes, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        save(tmp_path / "x.safetensors", **changes)
    assert not list(tmp_path.iterdir())


def test_a_clip_with_another_image_tower_is_not_written(tmp_path):
    model = CLIP(Tokenizer([]), CLIPConfig(embedding=8, image_width=8, text_width=8), image=nn.Linear(3, 8))
    with pytest.raises(ValueError, match="could not be loaded again: image"):
        save(tmp_path / "x.safetensors", model, "clip")


def test_sweeps_with_whole_weights_and_vaes_come_back(tmp_path):
    config = VAEConfig(widths=(8, 8, 8))
    sweep = VAESweep((0, 1), config)
    assert checkpoints.load(save(tmp_path / "s.safetensors", sweep, "kl_sweep"), "cpu").weights == (0, 1)
    assert checkpoints.load(save(tmp_path / "v.safetensors", VAE(config), "vae"), "cpu").config == config


def is_folder(tmp_path):
    (tmp_path / "x.safetensors").mkdir()
    return tmp_path / "x.safetensors"


def below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    return tmp_path / "file" / "x.safetensors"


def far_below_a_file(tmp_path):
    return below_a_file(tmp_path).parent / "more" / "x.safetensors"


def is_pipe(tmp_path):
    os.mkfifo(tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def in_a_circle(tmp_path):
    circular_link(tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def null(tmp_path):
    return tmp_path / "a\0b.safetensors"


def too_long(tmp_path):
    return tmp_path / ("n" * 300 + ".safetensors")


def no_suffix(tmp_path):
    return tmp_path / "x.pt"


PLACES_TO_WRITE = [is_folder, below_a_file, far_below_a_file, null, too_long, no_suffix] + [
    pytest.param(place, marks=posix) for place in (is_pipe, in_a_circle)
]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("place", PLACES_TO_WRITE)
def test_places_that_cannot_be_written(place, tmp_path):
    path = place(tmp_path)
    before = sorted(tmp_path.iterdir())
    for attempt in (checkpoints.check_writable, save):
        with pytest.raises(CheckpointError, match="cannot be written|could not be written|expected a name") as error:
            attempt(path)
        assert "safetensors" in str(error.value)
        assert "\n" not in str(error.value)
    assert sorted(tmp_path.iterdir()) == before, "nothing is left behind"


def test_a_place_is_tried_without_a_trace(tmp_path):
    checkpoints.check_writable(tmp_path / "new" / "x.safetensors")
    assert not list((tmp_path / "new").iterdir())
    path = save(tmp_path / "x.safetensors")
    before = path.read_bytes()
    checkpoints.check_writable(path)
    assert path.read_bytes() == before


def test_a_disk_that_is_nearly_full_is_found_before_a_training(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(CheckpointError, match="x.safetensors cannot be written .1 MB are free, expected at least"):
        checkpoints.check_writable(tmp_path / "x.safetensors")


def test_a_write_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = save(tmp_path / "x.safetensors")
    monkeypatch.setattr(os, "access", lambda *a: False)  # chmod would not keep root away
    for attempt in (checkpoints.check_writable, save):
        with pytest.raises(CheckpointError, match="write-protected"):
            attempt(path)


FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    "error", [FULL, PermissionError(13, "Permission denied"), OSError(30, "Read-only file system")]
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fails_while_saving_leaves_what_was_there(step, error, own, monkeypatch):
    def fails(*args):
        raise error

    before = {path: path.read_bytes() for path in own.glob("[!.]*")}
    monkeypatch.setattr(os, step, fails)
    with pytest.raises(
        CheckpointError, match=f"denoiser.safetensors could not be written .{error.strerror}.* unchanged"
    ):
        save(own / "denoiser.safetensors", recipe="second")
    assert {path: path.read_bytes() for path in own.glob("[!.]*")} == before
    assert not list(own.glob(".*.partial"))


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupt_while_saving_leaves_what_was_there(step, own, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(own / "denoiser.safetensors", recipe="second")
    assert checkpoints.header("denoiser")["recipe"] == "test"
    assert not list(own.glob(".*.partial"))


def test_a_full_disk_at_the_manifest_leaves_the_checkpoint_too(own, monkeypatch):
    """Both are written beside their places before either is moved."""
    real, calls = os.fsync, []

    def second_fails(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise FULL
        real(descriptor)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(CheckpointError, match="No space left"):
        save(own / "denoiser.safetensors", recipe="second")
    assert checkpoints.header("denoiser")["recipe"] == "test"


def test_a_disk_that_lies_is_found(tmp_path, monkeypatch):
    path = save(tmp_path / "x.safetensors", recipe="first")
    real = Path.read_bytes

    def forgetful(self):
        return real(self)[:-1] if self.name.endswith(".partial") else real(self)

    monkeypatch.setattr(Path, "read_bytes", forgetful)
    with pytest.raises(CheckpointError, match="reads back as something else"):
        save(path, recipe="second")
    assert checkpoints.header(path)["recipe"] == "first"


def test_a_lock_that_another_process_keeps(own, monkeypatch):
    lock = files.lock
    monkeypatch.setattr(files, "lock", lambda path, seconds=0.0: lock(path, 0.05))
    with lock(own / ".lock"):
        with pytest.raises(CheckpointError, match="denoiser.safetensors could not be written"):
            save(own / "denoiser.safetensors", recipe="second")
        assert checkpoints.header("denoiser")["recipe"] == "test", "reading needs no lock"


@posix
def test_a_saved_file_is_as_open_as_any_other(tmp_path):
    """What one user saves on a shared disk, others read: no stricter than a file made by `open`."""
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    path = save(tmp_path / "x.safetensors")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


@posix
def test_a_link_stays_and_what_it_points_at_is_replaced(tmp_path):
    path = save(tmp_path / "x.safetensors", recipe="first")
    link = tmp_path / "link.safetensors"
    link.symlink_to(path)
    save(link, recipe="second")
    assert link.is_symlink()
    assert checkpoints.header(path)["recipe"] == "second"
