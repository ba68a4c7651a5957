"""A harsh place to run notebooks in: what single students have had, all at once.

There the course lies in a folder with spaces and umlauts in its name, belongs to somebody else, and nothing in it can
be written. There is no home. The locale is C, with Python's UTF-8 mode off. Whoever asks for a host's address waits
for ever.

`python -m tests.notebooks.harsh [--times 2] NOTEBOOK...` runs all cells of notebooks there, twice in one kernel if asked.
"""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOBODY = 65534
DEAF = '''
"""Python reads this file at its start: from then on a resolver never answers, except about this machine."""
import socket, time

ask = socket.getaddrinfo


def getaddrinfo(host, *arguments, **how):
    if host not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
        time.sleep(3600)
    return ask(host, *arguments, **how)


socket.getaddrinfo = getaddrinfo
'''
RUN_CELLS = """
import sys
from pathlib import Path
import nbformat
from nbclient import NotebookClient

path, times = Path(sys.argv[1]), int(sys.argv[2])
notebook = nbformat.read(path, as_version=4)
notebook.cells = notebook.cells * times
for cell in notebook.cells:
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}).execute()
"""


@dataclass(frozen=True)
class Place:
    """A copy of the course in `folder`, and what a process there finds."""

    folder: Path
    environment: dict[str, str]
    before: tuple[str, ...]

    def run(self, *command: str, timeout: float = 600) -> subprocess.CompletedProcess:
        """Run a command in the copy's folder, without the rights and with the environment of this place."""
        return subprocess.run(
            [*self.before, *command], cwd=self.folder, env=self.environment, timeout=timeout,
            capture_output=True, text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip


def make(parent: Path) -> Place:
    """Copy the course into a folder below `parent` and take away what can be taken away."""
    folder, scratch, deaf = parent / "Kurs für Anfänger, 2. Lauf", parent / "scratch", parent / "deaf"
    for name in ("course_utils", "data", "notebooks", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    scratch.mkdir()
    scratch.chmod(0o777)
    deaf.mkdir()
    (deaf / "sitecustomize.py").write_text(DEAF)
    for path in [folder, *folder.rglob("*")]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "USER", "LOGNAME", "COURSE_CACHE")}
    environment |= {
        "HOME": str(folder / "home"),  # which is not there, and cannot be made
        "COURSE_PROFILE": "ci",
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": os.pathsep.join((str(folder), str(deaf))),
        "TMPDIR": str(scratch),
        "JUPYTER_RUNTIME_DIR": str(scratch / "runtime"),  # without one there is no kernel at all
    }
    return Place(folder, environment, _as_owner_of_nothing(folder))


def _as_owner_of_nothing(folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it cannot write what it may not: root may write everything, unless told."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("setpriv"):
        return ()
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.notebooks.harsh", description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path)
    parser.add_argument(
        "--times", type=int, default=1, help="how often all cells run, one after the other, in one kernel"
    )
    asked = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as parent:
        place = make(Path(parent))
        for notebook in asked.notebooks:
            start = time.monotonic()
            done = place.run(sys.executable, "-c", RUN_CELLS, f"notebooks/{notebook.name}", str(asked.times))
            print(
                f"{notebook.name}: {'passes' if not done.returncode else 'FAILS'}, {time.monotonic() - start:.0f} s",
                flush=True,
            )
            failed += done.returncode != 0
            if done.returncode:
                print(done.stderr[-3000:])
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
