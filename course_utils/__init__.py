"""The models, training loops and widgets of the course *latent space and guidance*."""

import os

# OpenMP reads this once, when torch loads it. Its idle threads would otherwise spin for a while after each operation,
# and a kernel that only waits for its next cell would take the cores from whatever else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
