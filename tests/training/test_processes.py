"""The same recipe over several processes, as `accelerate launch` or `torchrun` start them."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from course_utils.training.processes import TrainingError, processes

SCRIPT = """
import os
import signal
import sys
import time
import torch
from safetensors.torch import save_file
from torch import nn
from course_utils.training import state as state_module
from course_utils.training.loop import Part, fit
from course_utils.training.processes import TrainingError, leave, processes

folder, state, *plan = sys.argv[1:]
accelerator = processes()
rank = accelerator.process_index

def run(how):
    torch.manual_seed(0)
    first, second, drawn = nn.Linear(2, 3), nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last), []

    def loss(g):
        if how == "killed" and len(drawn) == 7 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "stopped" and len(drawn) == 7:
            raise KeyboardInterrupt
        x = torch.randn(4, 2, generator=g)
        drawn.append(x)
        return (nn.functional.dropout(first(x)) - 1).square().mean(), {}

    def other(g):
        return second(torch.randn(2, 2, 4, 4, generator=g)).square().mean(), {}

    if how == "stopped" and rank == 0:  # slow enough for the other to be ahead, if it may
        clear = state_module.clear
        state_module.clear = lambda *arguments: (time.sleep(0.5), clear(*arguments))

    if how == "full" and rank == 1:
        def no_space(*arguments):
            raise OSError(28, "No space left on device")
        torch.save = no_space

    parts = [Part(first, loss, lr=0.1, ema=0.9), Part(second, other, lr=0.1, start=2)]
    torch.manual_seed(rank)  # dropout follows the global generator
    try:
        fit(parts, steps=10, state=None if how == "whole" else f"{folder}/{state}", save_every=5)
    except KeyboardInterrupt:
        pass
    except (TrainingError, SystemExit) as error:
        print(rank, type(error).__name__, error, flush=True)
    weights = torch.cat([p.detach().flatten() for part in parts for p in part.module.parameters()])
    save_file({"weights": weights, "drawn": torch.stack(drawn)}, f"{folder}/{how}-{rank}.safetensors")

for how in plan:
    run(how)
leave(accelerator)
"""


def launch(*command, code=0):
    """Run a script or a module in two processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    run = subprocess.run([*start, *map(str, command)], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == code, run.stderr[-8000:]  # what a process said comes before what its launcher says of it
    return run.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of an unbroken run, and of two that go on in new processes: one is stopped at step 7 of 10, of the other
    one process is killed there."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    launch(script, folder, "stopped-state", "whole", "stopped")
    launch(script, folder, "killed-state", "killed", code=1)
    for how in ("stopped", "killed"):
        assert [path.name for path in (folder / f"{how}-state").iterdir()] == ["5-of-10"]
        launch(script, folder, f"{how}-state", f"resumed after {how}")
    return folder


def results(folder, how):
    return [load_file(folder / f"{how}-{rank}.safetensors") for rank in range(2)]


def test_processes_draw_their_own_batches_and_share_their_gradients(folder):
    first, second = results(folder, "whole")
    assert torch.equal(first["weights"], second["weights"])
    assert not torch.isclose(first["drawn"], second["drawn"]).any()


@pytest.mark.parametrize("how", ["resumed after stopped", "resumed after killed"])
def test_processes_that_stop_and_go_on_end_where_unbroken_ones_do(folder, how):
    for whole, resumed in zip(results(folder, "whole"), results(folder, how), strict=True):
        assert torch.equal(resumed["weights"], whole["weights"])
        assert torch.equal(resumed["drawn"], whole["drawn"][5:])
    first, second = results(folder, how)
    assert not torch.isclose(first["drawn"], second["drawn"]).any()


def test_a_damaged_state_is_set_aside_once_and_all_start_anew(folder):
    state = folder / "damaged-state"
    shutil.copytree(folder / "stopped-state" / "5-of-10", state / "5-of-10")
    path = state / "5-of-10" / "random_states_1.pkl"
    path.write_bytes(path.read_bytes()[:-1])
    said = launch(folder / "train.py", folder, state.name, "after damage")
    assert (
        said.splitlines().count(
            f"{state / '5-of-10'} is set aside, as 5-of-10.aside-1: it is damaged (random_states_1.pkl)"
        )
        == 1
    )
    assert sorted(path.name for path in state.iterdir()) == ["10-of-10", "5-of-10", "5-of-10.aside-1"]
    for whole, found in zip(results(folder, "whole"), results(folder, "after damage"), strict=True):
        assert torch.equal(found["weights"], whole["weights"])


def test_a_process_that_cannot_save_stops_all_with_one_line(folder):
    said = launch(folder / "train.py", folder, "full-state", "full").splitlines()
    assert sorted(said) == [
        f"0 TrainingError step 5 could not be saved in {folder / 'full-state'} (full-state: No space left on device); "
        "nothing is kept yet",
        "1 SystemExit 1",
    ]
    assert not list((folder / "full-state").iterdir())


def test_the_command_trains_in_several_processes_and_saves_once(tmp_path):
    out = tmp_path / "vae.safetensors"
    said = launch("-m", "course_utils.training", "vae", "--profile", "ci", "--steps", 2, "--out", out).splitlines()
    assert out.exists()
    assert sum(line.startswith(out.name) for line in said) == 1
    assert sum(line.startswith("profile ci") for line in said) == 1


def test_copies_that_cannot_share_a_training_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("course_utils.training.processes.Accelerator", lambda cpu: SimpleNamespace(num_processes=1))
    with pytest.raises(TrainingError, match="2 processes were started, but cpu trains in one only"):
        processes()
