"""Notebooks on a device that refuses what Apple's GPUs refuse: float64, and tensors that lie on the CPU.

All of them run here, on the `ci` profile; `python -m tests.devices.run_notebook FILE` runs one.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot have a device made in Python",
)


def run(*arguments: str) -> subprocess.CompletedProcess:
    """In a process of its own: a device, once registered, stays."""
    environment = {**os.environ, "COURSE_PROFILE": "ci", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, encoding="utf-8"
    )


def test_the_device_computes_and_is_strict():
    done = run("-c", _STRICT)
    assert done.returncode == 0, done.stderr


def test_pictures_with_a_scale_each_on_a_strict_device():
    done = run("-c", _PIPELINES)
    assert done.returncode == 0, done.stderr


@pytest.mark.notebook
@pytest.mark.parametrize("half", [NOTEBOOKS[:6], NOTEBOOKS[6:]], ids=("first", "last"))  # about equally long
def test_every_cell_runs_on_a_strict_device(half):
    done = run("-m", "tests.devices.run_notebook", *map(str, half))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stderr.count(": done after") == len(half)


_STRICT = """
import torch
from tests.devices import standin

device = standin.use()
torch.manual_seed(0)
layer, x = torch.nn.Linear(3, 2), torch.randn(4, 3)
expected = layer(x).square().mean()
expected.backward()
gradient = layer.weight.grad.clone()
layer.zero_grad()
moved = layer.to(device)
value = moved(x.to(device)).square().mean()
value.backward()
assert value.device.type == standin.NAME
assert torch.equal(value.detach().cpu(), expected.detach())
torch.testing.assert_close(moved.weight.grad.cpu(), gradient)
assert torch.arange(5, device=device).tolist() == [0, 1, 2, 3, 4]

for refused in (lambda: value.double(), lambda: value.to(torch.float64), lambda: x.to(device) + x, lambda: moved(x)):
    try:
        refused()
    except (TypeError, RuntimeError):
        continue
    raise AssertionError("the device took what Apple's GPUs refuse")
assert value.cpu().double().dtype == torch.float64
"""

_PIPELINES = """
import torch
from course_utils.diffusion.few_steps import FastPipeline
from course_utils.diffusion.paths import RectifiedFlow
from course_utils.diffusion.pipeline import TextToPicture
from tests.devices import standin
from tests.diffusion.test_few_steps import Student
from tests.diffusion.test_pipeline import Clip, Denoiser, Vae

device = standin.use()
for make, denoiser in ((TextToPicture, Denoiser), (FastPipeline, Student)):
    pipeline, w = make(Vae(), Clip(), denoiser(), RectifiedFlow()), [0.0, 1.5, 9.0]
    expected = pipeline.strip("a bear", w, 2, steps=4)
    pipeline.denoiser.to(device)
    torch.testing.assert_close(pipeline.strip("a bear", w, 2, steps=4).cpu(), expected)
    pictures = pipeline.generate(["a bear", "", "a cat"], guidance_scale=torch.tensor(w), steps=4)
    assert pictures.device.type == standin.NAME
"""
