"""Kills at random moments, SIGKILL in a process of its own: the run that goes on ends where an unbroken one does.

`python tests/training/test_kills.py 120` does it that many times, `120 2` with two processes.
"""

import multiprocessing
import multiprocessing.connection
import os
import random
import signal
import socket
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from accelerate.utils import other
from safetensors import safe_open
from torch import nn

from course_utils import checkpoints, files, runtime
from course_utils.models.denoiser import Denoiser, DenoiserConfig
from course_utils.training import __main__ as command
from course_utils.training import loop
from course_utils.training.recipes import RECIPES

STEPS, EVERY = 30, 3
SMALL = DenoiserConfig(width=16, depth=1, heads=2, condition=8)


def recipe(budget, seed):
    """A tiny denoiser with dropout, so that the global random numbers count too."""
    torch.manual_seed(seed)
    model, dropout = Denoiser(SMALL), nn.Dropout(0.3)

    def loss(g):
        z, t, c = torch.randn(4, 4, 8, 8, generator=g), torch.rand(4, generator=g), torch.randn(4, 8, generator=g)
        value = (model(dropout(z), t, c) - z).square().mean()
        return value, {"loss": value.detach()}

    loop.fit(
        loop.Part(model, loss, ema=0.9), steps=budget.steps, seed=seed, state=budget.state,
        made_of=budget.made_of, progress=budget.progress, save_every=EVERY, log_every=1,
    )  # fmt: skip
    return model, {"loss": 0.0}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def killed_at(moment):
    """Die at the moment-th of all steps and of all operations on files: made, half written, written, renamed, gone."""
    count = 0

    def pass_by():
        nonlocal count
        count += 1
        if count == moment:
            die()

    def half(path):
        """A process that dies here leaves a file that is cut."""
        with open(path, "wb") as file:
            file.write(b"half")
            file.flush()
            pass_by()
        os.remove(path)

    def dying(act, half_at=None):
        def act_or_die(*arguments, **options):
            pass_by()
            if half_at is not None:
                half(arguments[half_at])
            result = act(*arguments, **options)
            pass_by()
            return result

        return act_or_die

    with ExitStack() as patches:
        for owner, name, half_at in (
            (loop, "learning_rate", None),
            (torch, "save", 1),
            (other, "safe_save_file", 1),
            (files, "_write", 0),
            (os, "mkdir", None),
            (os, "rename", None),
            (os, "replace", None),
            (os, "unlink", None),
            (os, "rmdir", None),
        ):
            patches.enter_context(mock.patch.object(owner, name, dying(getattr(owner, name), half_at)))
        yield lambda: count


def train(cache, moment, environment, report=None):
    """The command in a process that dies at a moment, if it gets there."""
    os.environ.update(environment, COURSE_CACHE=str(cache))
    torch.set_num_threads(1)
    RECIPES["denoiser"] = recipe
    with killed_at(moment) as count:
        code = command.main(["denoiser", "--profile", "ci", "--steps", str(STEPS)])
    if report:
        report.put(count())
    assert code == 0


def weights(cache):
    path = cache / "checkpoints" / "ci" / "denoiser.safetensors"
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def environments(processes):
    """What torchrun tells each of its processes."""
    if processes == 1:
        return [{}]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
    return [{**shared, "MASTER_PORT": port, "RANK": str(i), "LOCAL_RANK": str(i)} for i in range(processes)]


def start(cache, moment, processes=1, dies=0, report=None):
    """Whether all processes lived to the end; one of them dies at a moment, and takes the others along."""
    fork = multiprocessing.get_context("fork")
    children = [
        fork.Process(target=train, args=(cache, moment * (i == dies), environment, report if i == 0 else None))
        for i, environment in enumerate(environments(processes))
    ]
    for child in children:
        child.start()
    multiprocessing.connection.wait([children[dies].sentinel], 120)
    if children[dies].exitcode != 0:
        for child in children:
            child.kill()
    for child in children:
        child.join(120)
    assert children[dies].exitcode in (0, -signal.SIGKILL)
    return all(child.exitcode == 0 for child in children)


def kill(folder, kills, processes=1, seed=0):
    """Run until so many kills are done: (runs that went to the end, moments in a whole run). Compares each result."""
    report = multiprocessing.get_context("fork").SimpleQueue()
    assert start(folder / "whole", 0, processes, report=report)
    moments, whole = report.get(), weights(folder / "whole")
    draws, done, ends = random.Random(seed), 0, 0
    while done < kills:
        cache, alive = folder / f"run-{ends}", False
        # The next kill is anywhere up to the end, so that most runs die several times.
        while done < kills and not alive:
            alive = start(cache, draws.randint(1, moments), processes, draws.randrange(processes))
            done += not alive
        if not alive:
            assert start(cache, 0, processes)
        ends += 1
        found = weights(cache)
        assert found.keys() == whole.keys()
        assert all(torch.equal(found[k], v) for k, v in whole.items())
        assert not any((cache / "training").glob("denoiser-*"))
        checkpoints.load(cache / "checkpoints" / "ci" / "denoiser.safetensors")
    return ends, moments


@pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks a process that has loaded torch")
def test_killed_runs_end_where_an_unbroken_one_does(tmp_path):
    ends, moments = kill(tmp_path, kills=12)
    assert ends >= 1
    assert moments > 2 * STEPS, "steps and operations on files"


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as there:
        runtime.setup()
        numbers = [int(argument) for argument in sys.argv[1:]]
        print("(runs that went to the end, moments of each):", kill(Path(there), *numbers))
