"""What every test shares."""

import os

# OpenMP reads this when torch loads it. Idle threads that spin would slow the tests' own kernels and servers.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("COURSE_PROFILE", "ci")

import torch  # noqa: E402

# The tests' tensors are small: a second thread costs more than it brings, most of all on a busy machine.
torch.set_num_threads(1)
