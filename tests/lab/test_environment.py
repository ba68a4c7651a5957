"""The environment's checks: what a broken machine looks like, and that each failure says how to mend it."""

import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from course_utils import checkpoints
from course_utils.checkpoints import CheckpointError
from course_utils.lab import environment as env


def versions(**known):
    def version_of(name):
        if name not in known:
            raise importlib.metadata.PackageNotFoundError(name)
        return known[name]

    return version_of


@pytest.mark.parametrize(
    ("version", "ok"), [((3, 9, 18), False), ((3, 10, 0), True), ((3, 13, 1), True), ((3, 99, 0), None)]
)
def test_python_versions(version, ok):
    check = env.python_version(version)
    assert check.ok is ok
    assert f"{version[0]}.{version[1]}" in check.found
    assert ("install Python 3.10" in check.mend) == (ok is False)


def test_missing_packages_are_named():
    check = env.packages(("torch", "lpips", "nothere"), versions(torch="2.9", lpips="0.1"))
    assert (check.ok, check.found) == (False, "missing: nothere")
    assert "requirements.txt" in check.mend
    assert env.packages().ok, "what the tests run in has everything"


def no_operator():
    raise RuntimeError("operator torchvision::nms does not exist\nand a long traceback")


def wrong_operator():
    return SimpleNamespace(ops=SimpleNamespace(nms=lambda *_: torch.tensor([7])), __version__="1")


def missing():
    raise ImportError("No module named 'torchvision'")


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (no_operator, "operator torchvision::nms does not exist"),
        (missing, "No module named 'torchvision'"),
        (wrong_operator, "wrong answers"),
    ],
)
def test_a_torchvision_that_does_not_fit_is_found(load, says):
    check = env.torch_pair(load)
    assert check.ok is False
    assert says in check.found
    assert "traceback" not in check.found
    assert "torch torchvision" in check.mend


def test_the_pair_that_is_installed_fits():
    assert env.torch_pair().ok


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"ipywidgets": "8.1.5"}, "jupyterlab_widgets is missing"),
        ({"ipywidgets": "7.7.0", "jupyterlab_widgets": "1.1.0"}, "too old"),
    ],
)
def test_half_a_widget_is_not_enough(known, says):
    check = env.widgets(versions(**known))
    assert check.ok is False
    assert says in check.found
    assert "reload" in check.mend


def test_outside_a_notebook_nothing_is_sent():
    check = env.widgets()
    assert check.ok
    assert check.found.startswith("ipywidgets 8.")
    assert check.found.endswith("not in a notebook, not tried")


@pytest.mark.parametrize(("arrives", "ok"), [(True, True), (None, True), (False, False)])
def test_only_a_loss_that_was_seen_is_a_failure(arrives, ok):
    check = env.widgets(from_thread=lambda: (arrives, "what was found"))
    assert check.ok is ok
    assert "what was found" in check.found
    assert ("!=7.0.1" in check.mend) == (not ok)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """Run code in a kernel and get back all that it sends: (kind, content) pairs."""
    home = tmp_path_factory.mktemp("kernel")
    manager, client = start_new_kernel(env={**os.environ, "IPYTHONDIR": str(home)}, cwd=os.getcwd())

    def run(code):
        sent = []
        client.execute_interactive(
            code, timeout=60, output_hook=lambda message: sent.append((message["msg_type"], message["content"]))
        )
        return [(kind, content) for kind, content in sent if kind not in ("status", "execute_input")]

    yield run
    client.stop_channels()
    manager.shutdown_kernel(now=True)


TRY = """
from comm import get_comm_manager
from course_utils.lab import environment as env
before = len(get_comm_manager().comms)
print(env.update_from_thread(), len(get_comm_manager().comms) - before)
"""

# What ipykernel 7.0.0 does in a thread that it does not know, and what a kernel would do that loses messages silently.
RAISES = """
import threading
kernel = get_ipython().kernel
get_parent, send = kernel.get_parent, kernel.session.send
in_thread = lambda: threading.current_thread().name == "widget-update"

def parent_of_no_thread(*args, **kwargs):
    if in_thread():
        raise LookupError("shell_parent")
    return get_parent(*args, **kwargs)

kernel.get_parent = parent_of_no_thread
"""
DROPS = """
kernel.get_parent = get_parent
kernel.session.send = lambda *args, **kwargs: None if in_thread() else send(*args, **kwargs)
env.update_from_thread.__defaults__ = (0.3,)
"""
HEARS_NOTHING = """
from contextlib import contextmanager
kernel.session.send = send

@contextmanager
def deaf():
    yield lambda seconds: None

env._listening = deaf
"""


def test_a_widget_is_updated_from_a_thread_and_heard_where_the_browser_listens(kernel):
    def printed(code):
        return "".join(content["text"] for kind, content in kernel(code) if kind == "stream")

    sent = kernel(TRY)
    assert {kind for kind, _ in sent} == {"comm_open", "comm_msg", "comm_close", "stream"}, "it shows and says nothing"
    assert sent[-1][1]["text"] == "(True, 'updates from threads arrive') 0\n", "and leaves nothing behind"
    assert printed(RAISES + TRY) == "(False, 'updates from threads are lost (LookupError)') 0\n"
    assert printed(DROPS + TRY) == "(False, 'updates from threads are lost') 0\n"
    assert printed(HEARS_NOTHING + TRY) == "(None, 'updates from threads: could not be tried (nothing is heard)') 0\n"


def test_a_cache_that_cannot_be_written_to(tmp_path):
    assert env.cache(tmp_path).ok
    assert not list(tmp_path.iterdir()), "the check leaves nothing behind"
    check = env.cache(tmp_path / "missing")
    assert check.ok is False
    assert "COURSE_CACHE" in check.mend


def test_a_misspelt_profile(monkeypatch):
    monkeypatch.setenv("COURSE_PROFILE", "cpus")
    check = env.chosen_profile()
    assert check.ok is False
    assert "'cpus'" in check.found
    monkeypatch.setenv("COURSE_PROFILE", "ci")
    assert env.chosen_profile().found.startswith("ci, as COURSE_PROFILE asks")


def test_a_damaged_checkpoint_is_named():
    def load(name):
        if name == "clip":
            raise CheckpointError("clip.safetensors is damaged")

    check = env.shipped_checkpoints(load)
    assert (check.ok, check.found) == (False, "clip.safetensors is damaged")
    assert "git checkout" in check.mend


def test_no_network_is_no_failure():
    check = env.network({"nowhere": "host.invalid"}, seconds=0.5)
    assert check.ok is None
    assert "offline" in check.found


def test_the_report_lists_what_to_mend_from_the_top():
    good = env.Check("a", True, "fine | good")
    assert "**Ready.**" in env.report([good])
    assert "fine / good" in env.report([good]), "a bar would end the table's cell"
    bad = [env.Check("b", False, "broken", "glue it"), env.Check("c", False, "lost", "find it")]
    text = env.report([good, *bad, env.Check("d", None, "by the way")])
    assert "**2 to mend**" in text
    assert text.index("1. **b**: glue it.") < text.index("2. **c**: find it.")
    assert "| · | d |" in text


def broken(folder):
    (folder / "denoiser.safetensors").write_bytes(b"half")


def no_manifest(folder):
    (folder / "manifest.json").unlink()


def page_for_a_manifest(folder):
    (folder / "manifest.json").write_text("<!doctype html>", encoding="utf-8")


def list_for_a_manifest(folder):
    (folder / "manifest.json").write_text("[]", encoding="utf-8")


def numbers_for_entries(folder):
    (folder / "manifest.json").write_text('{"judge.safetensors": 5}', encoding="utf-8")


def no_entries(folder):
    (folder / "manifest.json").write_text("{}", encoding="utf-8")


def folder_for_a_manifest(folder):
    no_manifest(folder)
    (folder / "manifest.json").mkdir()


def folder_for_a_checkpoint(folder):
    (folder / "clip.safetensors").unlink()
    (folder / "clip.safetensors").mkdir()


def nothing_at_all(folder):
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (broken, "denoiser.safetensors is damaged"),
        (no_manifest, "manifest.json is missing"),
        (page_for_a_manifest, "manifest.json is damaged"),
        (list_for_a_manifest, "manifest.json is damaged"),
        (numbers_for_entries, "manifest.json is damaged"),
        (no_entries, "judge.safetensors is not listed"),
        (folder_for_a_manifest, "manifest.json cannot be read"),
        (folder_for_a_checkpoint, "clip.safetensors cannot be read"),
        (nothing_at_all, "judge.safetensors is missing"),
    ],
)
def test_what_can_lie_in_the_folder_of_checkpoints(breaks, says, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints"
    shutil.copytree(checkpoints.folder(), folder)
    monkeypatch.setattr(checkpoints, "folder", lambda: folder)
    breaks(folder)
    check = env.shipped_checkpoints()
    assert check.ok is False
    assert says in check.found
    assert "git checkout data/checkpoints" in check.mend


def test_nothing_is_never_whole(monkeypatch):
    """A loader that is content, and no manifest: what was said of this once was "0 MB, all whole"."""
    monkeypatch.setattr(checkpoints, "folder", lambda: Path("/nowhere"))
    assert env.shipped_checkpoints(lambda name: None).ok is False


@pytest.mark.parametrize("asked", ["file", "file/below", "a\0b", "~nobody-of-this-name/x"])
def test_a_cache_that_can_be_no_folder(asked, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(
        env.os, "environ", {**os.environ, "COURSE_CACHE": asked.replace("file", str(tmp_path / "file"))}
    )
    check = env.cache()
    assert check.ok is False
    assert check.found.startswith("not writable: ")
    assert "COURSE_CACHE" in check.mend


def test_a_full_disk_is_no_place_for_a_cache(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", full)
    assert env.cache(tmp_path).found == "not writable: No space left on device"


@pytest.mark.parametrize(
    "error", [AttributeError("no such thing"), MemoryError(), RecursionError("too deep"), KeyError("x")]
)
def test_a_check_that_breaks_takes_no_other_with_it(error, monkeypatch):
    def breaks(*args, **kwargs):
        raise error

    for name in ("python_version", "packages", "torch_pair", "widgets", "shipped_checkpoints", "network"):
        monkeypatch.setattr(env, name, breaks)
    found = {check.name: check for check in env.check_all()}
    assert list(found) == [
        "Python", "packages", "torch and torchvision", "device", "profile", "widgets", "cache", "checkpoints", "network",
    ]  # fmt: skip
    assert found["device"].ok
    assert found["profile"].ok
    for name in ("packages", "widgets", "checkpoints", "network"):
        assert found[name].ok is False
        assert type(error).__name__ in found[name].found
        assert found[name].mend
    assert f"**{6} to mend**" in env.report(list(found.values()))


def test_a_line_break_does_not_end_the_table_s_cell():
    assert "| ✗ | a | one two |" in env.report([env.Check("a", False, "one\n two", "mend it")])
