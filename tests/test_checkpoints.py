"""Checkpoints that are written: what is saved comes back, and what cannot be written leaves what was there."""

import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from torch import nn

from course_utils import checkpoints, files
from course_utils.checkpoints import CheckpointError
from course_utils.models.autoencoder import VAE, VAEConfig
from course_utils.models.clip import CLIP, CLIPConfig
from course_utils.models.denoiser import Denoiser
from course_utils.models.tokenizer import Tokenizer
from course_utils.models.vector_autoencoder import VAESweep, VectorVAEConfig
from tests.checkpoint_files import TINY, WEIGHT, circular_link, posix, save, tiny


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


def test_shipped_checkpoints_fit_in_64_megabytes():
    assert sum(p.stat().st_size for p in checkpoints.folder().glob("*.safetensors")) <= 64e6


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
    config = VAEConfig(widths=(16, 16, 16))
    sweep = VAESweep((0, 1), VectorVAEConfig(widths=(16, 16, 16, 16), latent=8))
    again = checkpoints.load(save(tmp_path / "s.safetensors", sweep, "kl_sweep"), "cpu")
    assert (again.weights, again.config) == ((0, 1), sweep.config)
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


def test_a_checkpoint_with_another_beginning_of_its_hash_has_changed():
    true = {name: checkpoints.manifest()[f"{name}.safetensors"]["sha256"][:16] for name in ("vae", "clip")}
    assert checkpoints.changed_since(true) == []
    assert checkpoints.changed_since(true | {"clip": "0" * 16}) == ["clip"]
