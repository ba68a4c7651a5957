"""What every test shares."""

import os

# OpenMP reads this when torch loads it. Idle threads that spin would slow the tests' own kernels and servers.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("COURSE_PROFILE", "ci")
# The kernels and servers that the tests start share the cores with those of the other test processes.
cores = (os.cpu_count() or 1) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))

import pytest  # noqa: E402
import torch  # noqa: E402

# The tests' tensors are small: a second thread costs more than it brings, most of all on a busy machine.
torch.set_num_threads(1)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder that stands for data/checkpoints, with one checkpoint, in a folder called checkpoints."""
    from course_utils import checkpoints
    from tests.checkpoint_files import save

    folder = tmp_path / "checkpoints"
    monkeypatch.setattr(checkpoints, "folder", lambda: folder)
    save(folder / "denoiser.safetensors")
    return folder


@pytest.hookimpl(optionalhook=True)  # pytest-xdist's
def pytest_xdist_make_scheduler(config, log):
    """Which tests stay together when several processes share them."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            if file.startswith("tests/browser/"):  # one JupyterLab and one Chromium serve them all
                return "browser"
            alone = ("tests/notebooks/test_notebooks.py", "tests/devices/")
            return nodeid if file.startswith(alone) else file

    return Scheduling(config, log)
