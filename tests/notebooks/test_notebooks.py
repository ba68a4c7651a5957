"""Every notebook: runs on the ci profile under nbval, is saved in good form, and its solutions are right."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_utils import runtime

ROOT = runtime.data_dir().parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_runs_under_nbval_within_a_minute(path):
    environment = {**os.environ, "COURSE_PROFILE": "ci"}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "--nbval-cell-timeout=120",
        "-p",
        "no:cacheprovider",
        str(path),
    ]
    start = time.monotonic()
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    print(f"{path.name}: {time.monotonic() - start:.0f} s")
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    passed = int(re.search(r"(\d+) passed", run.stdout).group(1))
    assert passed == sum(bool(source(c).strip()) for c in cells(path, "code"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_saved_form(path):
    code = cells(path, "code")
    outputs = [o for c in code for o in c["outputs"]]
    assert all(c["execution_count"] for c in code if source(c).strip()), "every cell was executed"
    assert sum(any(k.startswith("image/") for k in o.get("data", {})) for o in outputs) >= 5
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    assert not any("widget-view" in k for o in outputs for k in o.get("data", {}))
    assert path.stat().st_size < 1.5e6
    assert max(len(re.findall(r"(?m)^(?!from |import )\s*\S", source(c))) for c in code) <= 25
    text = json.dumps(
        [{k: v for k, v in o.items() if k != "data"} | {"t": o.get("data", {}).get("text/plain")} for o in outputs]
    )
    assert not re.search(r"/(root|home|tmp|Users)/", text)
    assert 3 <= sum(len(re.findall(r"(?m)^### Exercise", source(c))) for c in cells(path, "markdown")) <= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_solutions_in_the_notebook_are_accepted(path, capsys):
    code = "\n".join(source(c) for c in cells(path, "code"))
    subject = re.search(r"from course_utils\.lab\.exercises import (\w+) as check", code)[1]
    exercises = importlib.import_module(f"course_utils.lab.exercises.{subject}")
    shown = {"__name__": "solutions"}
    # A student's cell has what the notebook imports, and no more.
    imports = [line for c in cells(path, "code") for line in re.findall(r"(?m)^import .*$", source(c))]
    exec("\n".join(imports), shown)
    found = []
    for cell in cells(path, "markdown"):
        for block in re.findall(r"```python\n(.*?)```", source(cell), re.S):
            exec(block, shown)
            found += re.findall(r"(?m)^def (\w+)", block)
    assert len(found) >= 3
    for name in found:
        assert getattr(exercises, name)(shown[name]) is shown[name], capsys.readouterr().out
