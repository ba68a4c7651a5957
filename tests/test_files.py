"""Files that are replaced in one step: many processes at once, killed writers, leftovers, Windows's refusals."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_utils import checkpoints, files

# Several processes save two of the course's own checkpoints and load them by name and by path. Each prints how often.
BUSY = """
import json, sys
from pathlib import Path
import torch
from course_utils import checkpoints
from course_utils.models.denoiser import Denoiser, DenoiserConfig

torch.set_num_threads(1)
folder, me, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
checkpoints.folder = lambda: folder
model = Denoiser(DenoiserConfig(width=8, depth=1, heads=2, condition=4))
names = ["denoiser", "diffusion", "weak_denoiser"]
reads = 0
for i in range(rounds):
    name = names[(i + me) % 3]
    path = checkpoints.path_of(name)
    checkpoints.save(model, path, name=name, recipe=f"{me}, {i}", metrics={"of": me}, seed=i)
    checkpoints.save(model, folder / "mine.safetensors", name=name, recipe=f"{me}, {i}", metrics={}, seed=i)
    for read in (name, path, folder / "mine.safetensors", names[i % 3] if i > 2 else name):
        checkpoints.load(read, "cpu")
        reads += 1
    assert name + ".safetensors" in checkpoints.manifest()
print(json.dumps({"saves": 2 * rounds, "reads": reads}))
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    root = str(Path(checkpoints.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_that_save_and_load_at_once(tmp_path, monkeypatch):
    """No read sees half a file or a file without its line, and no line is lost."""
    running = [start(BUSY, tmp_path, i, 8) for i in range(3)]
    for process in running:
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert json.loads(out) == {"saves": 16, "reads": 32}
    monkeypatch.setattr(checkpoints, "folder", lambda: tmp_path)
    names = ["denoiser", "diffusion", "weak_denoiser"]
    assert sorted(checkpoints.manifest()) == sorted(f"{name}.safetensors" for name in names)
    for name in names:
        checkpoints.load(name, "cpu")
    assert not list(tmp_path.glob(".*.partial"))


# A writer that forks and whose children are killed at random moments of their saving; after each, all must be whole.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from course_utils import checkpoints
from course_utils.models.denoiser import Denoiser, DenoiserConfig

torch.set_num_threads(1)
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
checkpoints.folder = lambda: folder
model = Denoiser(DenoiserConfig(width=8, depth=1, heads=2, condition=4))
path = checkpoints.path_of("denoiser")

def save(i, path=path):
    checkpoints.save(model, path, name="denoiser", recipe=str(i), metrics={}, seed=i)

start = time.perf_counter()
for i in range(5):
    save(i)
each = (time.perf_counter() - start) / 5
draw, between = random.Random(0), 0
for i in range(kills):
    child = os.fork()
    if not child:
        save(i)
        os._exit(0)
    time.sleep(draw.uniform(0, 1.5 * each))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    checkpoints.load(path, "cpu")  # the old file or the new one
    try:
        checkpoints.load("denoiser", "cpu")
    except checkpoints.CheckpointError as error:  # killed between the file and its line: named, and mended by a save
        assert "does not match" in str(error), error
        between += 1
        save(i)
        checkpoints.load("denoiser", "cpu")
print("between", between)
"""


@pytest.mark.skipif(os.name != "posix", reason="forks")
def test_writers_that_are_killed_leave_whole_files(tmp_path):
    process = start(KILLED, tmp_path, 25)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.startswith("between")


def test_what_killed_writers_left_is_cleaned_and_what_is_being_written_is_not(tmp_path):
    old, young, other = (tmp_path / name for name in (f".{'a' * 32}.partial", f".{'b' * 32}.partial", ".mine.partial"))
    for path in (old, young, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 2 * files.ABANDONED,) * 2)
    files.replace({tmp_path / "x": b"whole"})
    assert sorted(tmp_path.iterdir()) == sorted([young, other, tmp_path / "x"])


def test_windows_refuses_for_a_moment(tmp_path, monkeypatch):
    """There a file that another process reads cannot be replaced, nor one read that is being replaced."""
    monkeypatch.setattr(files, "WINDOWS", True)
    real, refusals = os.replace, []

    def busy(*paths):
        refusals.append(paths)
        if len(refusals) < 4:
            raise PermissionError(13, "The process cannot access the file")
        real(*paths)

    monkeypatch.setattr(os, "replace", busy)
    files.replace({tmp_path / "x": b"whole"})
    assert files.read(tmp_path / "x") == b"whole"
    assert len(refusals) == 4


def test_a_refusal_that_stays_is_reported(tmp_path, monkeypatch):
    def denied():
        raise PermissionError(13, "Permission denied")

    for windows in (False, True):
        monkeypatch.setattr(files, "WINDOWS", windows)
        with pytest.raises(PermissionError):
            files.patiently(denied, seconds=0.05)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists what is open")
def test_nothing_stays_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    files.check_writable(tmp_path / "x")
    files.replace({tmp_path / "x": b"whole"})
    with files.lock(tmp_path / ".lock"):
        assert files.read(tmp_path / "x") == b"whole"
    assert os.listdir("/proc/self/fd") == before


def test_a_lock_is_held_by_one(tmp_path):
    with files.lock(tmp_path / ".lock"):
        with pytest.raises(TimeoutError), files.lock(tmp_path / ".lock", 0.05):
            pytest.fail("two hold it")
    with files.lock(tmp_path / ".lock", 0.05):
        pass
