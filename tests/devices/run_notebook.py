"""Run notebooks' code cells in this process on the stand-in device: `python -m tests.devices.run_notebook FILE ...`.

One process for all of them, as imports take longer than many a notebook; each has names of its own. Ends with 1 and the
cell's traceback if a cell fails.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import matplotlib
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import pyplot

from course_utils import runtime
from tests.devices import standin


def main(paths: list[str]) -> int:
    matplotlib.use("agg")
    device = standin.use()
    runtime.device = lambda: device
    shell = InteractiveShell.instance(colors="NoColor")
    return max([run(path, shell) for path in [Path(path).resolve() for path in paths]])


def run(path: Path, shell: InteractiveShell) -> int:
    """Run one notebook in its folder: 0, or 1 if a cell failed."""
    shell.reset(new_session=False)
    pyplot.close("all")
    os.chdir(path.parent)
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code" and not shell.run_cell("".join(cell["source"])).success:
            print(f"{path.name}: cell {number} failed on the stand-in device", file=sys.stderr)
            return 1
    print(f"{path.name}: done after {time.process_time():.0f} s of computing", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
