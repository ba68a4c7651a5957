"""Run a notebook's code cells in this process on the stand-in device: `python -m tests.devices.run_notebook FILE`.

Ends with 1 and the cell's traceback if a cell fails.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import matplotlib
from IPython.core.interactiveshell import InteractiveShell

from course_utils import runtime
from tests.devices import standin


def main(path: str) -> int:
    matplotlib.use("agg")
    device = standin.use()
    runtime.device = lambda: device
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    os.chdir(Path(path).parent)
    shell = InteractiveShell.instance(colors="NoColor")
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code":
            continue
        if not shell.run_cell("".join(cell["source"])).success:
            print(f"{Path(path).name}: cell {number} failed on the stand-in device", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
