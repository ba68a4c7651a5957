"""Run notebooks and compare what their cells print with what is saved: `python -m tests.notebooks.validate [NOTEBOOK...]`.

Strict nbval does it: every cell that prints is compared, after `sanitize.cfg` has taken out what differs from machine to
machine. A cell is left out by a tag, and says why in its metadata, as `"course": {"why": "..."}`:

- `nbval-ignore-output`: never compared, and holds no claim.
- `ci-ignore-output`: compared on `cpu` and `gpu`, where models are trained for long enough to bear its claims out.

What nbval lets pass is added here. A claim that does not hold in the run fails, whatever was saved. So does a notebook
from which a cell or an output was taken, or which was saved with a claim that does not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from course_utils.lab.claims import FAILS, HOLDS

if TYPE_CHECKING:  # pytest is to be the first that imports its plugins
    from nbval.plugin import IPyNbCell

ROOT = Path(__file__).parents[2]
SANITIZE = Path(__file__).with_name("sanitize.cfg")
NEVER, NOT_ON_CI = "nbval-ignore-output", "ci-ignore-output"
COLUMNS = ("cells", "print", "compared", "marked", "silent", "claims")


def printed(cell: nbformat.NotebookNode) -> str:
    """The text that a reader sees under a code cell; "" for one that shows pictures, a widget or nothing."""
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        pictures = any(kind.startswith("image/") for kind in data)
        plain = "" if pictures or data.get("text/plain", "").startswith("(a widget") else data.get("text/plain", "")
        texts.append(output.get("text", "") or data.get("text/markdown") or data.get("text/html") or plain)
    return "\n".join(text for text in texts if text)


def claims(text: str, mark: str = HOLDS) -> list[str]:
    """The lines of a text that are claims which hold, or with FAILS those which do not."""
    return [line for line in text.splitlines() if line.startswith(f"{mark} ")]


def is_compared(metadata: dict, profile: str) -> bool:
    """Does validation on this profile compare a cell that carries this metadata?"""
    tags = metadata.get("tags", [])
    return NEVER not in tags and not (profile == "ci" and NOT_ON_CI in tags)


def census(path: Path, profile: str) -> Counter[str]:
    """How many code cells of a notebook print, are compared, marked, silent, and how many claims they print."""
    count: Counter[str] = Counter()
    for cell in code_cells(path):
        text = printed(cell)
        compared = is_compared(cell.metadata, profile)
        kind = "silent" if not text else "compared" if compared else "marked"
        count.update({"cells": 1, kind: 1, "print": bool(text), "claims": len(claims(text))})
    return count


def complaints(path: Path) -> list[str]:
    """What is wrong with a notebook as it is saved, one sentence each."""
    cells = code_cells(path)
    recorded = nbformat.read(path, as_version=4).metadata.get("course", {}).get("code_cells", 0)  # by execute.py
    wrong = []
    if [cell.execution_count for cell in cells] != list(range(1, recorded + 1)):
        wrong.append(f"a code cell is missing, moved, new or not executed; expected the {recorded} that ran in order")
    for k, cell in enumerate(cells):
        tags, text = cell.metadata.get("tags", []), printed(cell)
        why = cell.metadata.get("course", {}).get("why", "")
        if {NEVER, NOT_ON_CI, "nbval-skip"} & set(tags) and len(why.split()) < 3:
            wrong.append(f"cell {k} is not compared, and does not say why")
        if re.search(r"(?m)^\s*#+\s*(NBVAL|PYTEST_VALIDATE)_", cell.source):
            wrong.append(f"cell {k} is marked in a comment; expected a tag")
        if NEVER in tags and claims(text):
            wrong.append(f"cell {k} holds a claim and is never compared")
        wrong += [f"cell {k} was saved with a claim that does not hold: {line}" for line in claims(text, FAILS)]
    return wrong


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


class Strict:
    """What is added to nbval, as a plugin of pytest."""

    def __init__(self, paths: list[Path], profile: str):
        self.paths, self.profile = paths, profile

    def pytest_collection_modifyitems(self, items: list[IPyNbCell]) -> None:
        for file in {item.parent for item in items}:
            # Libraries write there about the machine: no home, no font cache yet. execute.py drops it, too.
            file.skip_compare = (*file.skip_compare, "stderr")
        for item in items:
            item.options["check"] = is_compared(item.cell.metadata, self.profile)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: IPyNbCell):
        yield
        broken = [line for out in item.test_outputs for line in claims(out.get("text", ""), FAILS)]
        if broken and (self.profile != "ci" or NOT_ON_CI not in item.cell.metadata.get("tags", [])):
            item.raise_cell_error("A claim does not hold", "\n".join(broken))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(table(self.paths, self.profile))


def table(paths: list[Path], profile: str) -> str:
    """The census of each notebook and of all, as lines of text."""
    rows = {path.stem: census(path, profile) for path in paths}
    rows["all"] = sum(rows.values(), Counter())
    lines = [f"{'on ' + profile:30}" + "".join(f"{name:>10}" for name in COLUMNS)]
    return "\n".join(lines + [f"{name:30}" + "".join(f"{row[c]:10}" for c in COLUMNS) for name, row in rows.items()])


def validate(paths: list[Path], profile: str, timeout: float) -> int:
    """Validate notebooks on a profile, with `timeout` seconds for each cell. Returns 0 if nothing is wrong, otherwise 1."""
    os.environ["COURSE_PROFILE"] = profile  # the kernels inherit it
    wrong = [f"{path.name}: {what}" for path in paths for what in complaints(path)]
    options = ["--nbval", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZE}", f"--nbval-cell-timeout={timeout}"]
    options += ["-q", "-p", "no:cacheprovider"]
    # A student's installation lacks the plugins that pyproject.toml has options for.
    options += ["-W", "ignore::pytest.PytestConfigWarning"]
    failed = pytest.main([*options, *map(str, paths)], plugins=[Strict(paths, profile)])
    for what in wrong:
        print(what)
    return int(failed != 0 or bool(wrong))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.notebooks.validate", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("notebooks", nargs="*", type=Path, help="all of the course's, if none is named")
    parser.add_argument("--profile", choices=("ci", "cpu", "gpu"), default="ci")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for each cell")
    asked = parser.parse_args()
    if lost := [str(path) for path in asked.notebooks if not path.is_file()]:
        parser.error(f"notebooks: got {', '.join(lost)}; expected files that are there")
    return validate(asked.notebooks or sorted((ROOT / "notebooks").glob("*.ipynb")), asked.profile, asked.timeout)


if __name__ == "__main__":
    sys.exit(main())
