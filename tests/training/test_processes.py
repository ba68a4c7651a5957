"""The same recipe over several processes, as `accelerate launch` or `torchrun` start them."""

import os
import subprocess
import sys

SCRIPT = """
import torch
from accelerate import PartialState
from accelerate.utils import gather
from torch import nn
from course_utils.training.loop import Part, fit

torch.manual_seed(0)
model, drawn = nn.Linear(2, 1), []

def loss(g):
    x = torch.randn(4, 2, generator=g)
    drawn.append(x.sum())
    return (model(x) - 1).square().mean(), {}

fit(Part(model, loss, lr=0.1), steps=5)
weights = gather(model.weight.detach().flatten()[None])
batches = gather(torch.stack(drawn)[None])
if PartialState().is_main_process:
    print("processes", len(weights))
    print("same weights", torch.allclose(weights[0], weights[1]))
    print("same batches", torch.allclose(batches[0], batches[1]))
# A process that leaves while the other is still connected may abort it.
PartialState().wait_for_everyone()
PartialState().destroy_process_group()
"""


def test_processes_draw_their_own_batches_and_share_their_gradients(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node=2",
        str(script),
    ]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.splitlines()[-3:] == ["processes 2", "same weights True", "same batches False"]
