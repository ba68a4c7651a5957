"""Every notebook: is valid on the ci profile in a harsh place, is saved in good form, and its solutions are right."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from course_utils import runtime
from tests.notebooks import harsh
from tests.notebooks.validate import census, complaints, table

ROOT = runtime.data_dir().parent
SHARE = 0.6  # of the cells that print, at least so many are compared
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == kind]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.fixture(scope="session")
def harsh_place(tmp_path_factory):
    return harsh.make(tmp_path_factory.mktemp("harsh"))


@pytest.mark.notebook
def test_the_harsh_place_is_harsh(harsh_place):
    done = harsh_place.run(sys.executable, "-c", _HARSH)
    assert done.returncode == 0, done.stderr


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_is_valid_in_a_harsh_place(path, harsh_place):
    command = ["-m", "tests.notebooks.validate", "--profile", "ci", "--timeout", "120", f"notebooks/{path.name}"]
    run = harsh_place.run(sys.executable, *command)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_saved_form(path):
    code = cells(path, "code")
    outputs = [o for c in code for o in c["outputs"]]
    assert complaints(path) == []
    assert sum(any(k.startswith("image/") for k in o.get("data", {})) for o in outputs) >= 5
    assert not [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
    assert "widgets" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
    assert not any("widget-view" in k for o in outputs for k in o.get("data", {}))
    assert path.stat().st_size < 2e6
    assert max(len(re.findall(r"(?m)^(?!from |import )\s*\S", source(c))) for c in code) <= 25
    assert sum(len(re.findall(r"(?m)^\s*[^\s#]", source(c))) for c in code) <= 450
    text = json.dumps(
        [{k: v for k, v in o.items() if k != "data"} | {"t": o.get("data", {}).get("text/plain")} for o in outputs]
    )
    assert not re.search(r"/(root|home|tmp|Users)/", text)
    assert 3 <= sum(len(re.findall(r"(?m)^### Exercise", source(c))) for c in cells(path, "markdown")) <= 5


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_most_cells_that_print_are_compared_on_ci(path):
    count = census(path, "ci")
    assert count["compared"] >= SHARE * count["print"] > 0, table([path], "ci")


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


_HARSH = """
import locale, os, socket, sys, threading
from pathlib import Path

import course_utils

folder = Path(course_utils.__file__).parents[1]
assert folder == Path.cwd() and " " in folder.name and not folder.name.isascii()
for name in ("new", "notebooks/new", "data/checkpoints/new", ".cache/new"):
    try:
        Path(name).write_text("")
    except OSError:
        continue
    raise AssertionError(f"{name} could be written")
assert not Path.home().exists()
if os.name == "posix":
    assert not sys.flags.utf8_mode and locale.getpreferredencoding(False).lower() != "utf-8"
asking = threading.Thread(target=lambda: socket.getaddrinfo("example.org", 443), daemon=True)
asking.start()
asking.join(1)
assert asking.is_alive()
"""
