"""`python -m course_utils.lab.exercises` on notebooks as shipped, solved, wrong, broken, and on what is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course_utils import runtime
from course_utils.lab.exercises import grading, notebook_answers
from course_utils.lab.exercises.checking import RIGHT, WRONG

ROOT = runtime.data_dir().parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
COUNT = 54


def sources(path: Path, kind: str) -> list[str]:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in cells if c["cell_type"] == kind]


def write(path: Path, cells: list[str]) -> Path:
    made = [
        {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": c.splitlines(True)}
        for c in cells
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": made}), encoding="utf-8")
    return path


def filled_in(notebook: Path, folder: Path, edit=lambda text: text) -> Path:
    """A copy whose exercises hold the notebook's own solutions, edited."""
    solutions = "\n\n".join(
        block for text in sources(notebook, "markdown") for block in re.findall(r"```python\n(.*?)```", text, re.S)
    )
    cells = []
    for cell in sources(notebook, "code"):
        for name in re.findall(r"(?m)^(\w+) = check\.\1\(\1\)", cell):
            body = re.search(rf"(?ms)^def {name}\(.*?(?=^\S|\Z)", solutions)[0]
            cell = re.sub(rf"(?ms)^def {name}\(.*?(?=^\S)", lambda _, body=body: edit(body.rstrip()) + "\n\n", cell)
        cells.append(cell)
    return write(folder / notebook.name, cells)


def test_as_shipped_nothing_is_attempted_and_nothing_wrong(capsys):
    assert grading.main([str(path) for path in NOTEBOOKS]) == 0
    said = capsys.readouterr().out
    assert said.count("not attempted\n") == COUNT + len(NOTEBOOKS)
    assert "  ○ cfg_combine: not attempted\n" in said
    assert "  0 right, 0 wrong, 6 not attempted\n" in said


def verdicts(path: Path) -> dict:
    """As the command makes them, without a process of their own."""
    notebook, found = notebook_answers.read(path), {}
    for name, exercise in notebook.exercises.items():
        answer, trouble = notebook_answers.answer(notebook, name)
        assert not trouble
        found[name] = exercise.judge(answer)
    return found


def test_solved_all_are_right(tmp_path):
    found = [v for path in NOTEBOOKS for v in verdicts(filled_in(path, tmp_path)).values()]
    assert len(found) == COUNT
    assert not [v.lines for v in found if v.kind != RIGHT]


def test_wrong_ones_are_told_with_their_lines(tmp_path, capsys):
    def twice(text):
        return re.sub(r"(?m)return (.*)$", r"return 2 * (\1)", text)

    found = [v for path in NOTEBOOKS for v in verdicts(filled_in(path, tmp_path, twice)).values()]
    assert [v.kind for v in found] == [WRONG] * COUNT
    (one,) = [filled_in(path, tmp_path, twice) for path in NOTEBOOKS if path.name.startswith("08")]
    assert grading.main([str(one)]) == 1
    said = capsys.readouterr().out
    assert "  0 right, 6 wrong, 0 not attempted\n" in said
    assert "  ✗ cfg_combine: with v_uncond = 1, v_cond = 3 and w = 3: expected 7, got 14.\n" in said


IMPORTS = "import torch\nfrom course_utils.lab.exercises import conventions as check"
MIX = "def mix(z0, eps, t):\n    return (1 - t) * z0 + t * eps\n\nmix = check.mix(mix)"
TO_MODEL = "def to_model(pixels):\n    return pixels.float() / HALF - 1\nto_model = check.to_model(to_model)"
COUNTED = "count_plushies = check.count_plushies(count_plushies)"
RIGHT_COUNT = "def count_plushies(s, f, a, c, b, p):\n    return s * f * (1 + (a - 1) * c) * b * p\n" + COUNTED

BROKEN_AROUND = {
    "an exit before it": ["import sys\nsys.exit(3)", IMPORTS, "exit()", MIX],
    "a loop before it": [IMPORTS, "while True:\n    pass", MIX, "import time\ntime.sleep(1000)"],
    "no syntax around it": [IMPORTS, "def broken(:\n  x", "print 'hello'", MIX, "```"],
    "magics": ["%matplotlib inline\n" + IMPORTS, "!ls\nfiles = !ls", "%time x = 1", "?mix", MIX, "%%bash\nls"],
    "timed": [IMPORTS, "%%time\n" + MIX],
    "an import that fails": ["import no_such_module\n" + IMPORTS, MIX],
    "an older attempt that raises": [IMPORTS, "mix = undefined_name", MIX],
    "under a condition": [
        IMPORTS,
        "if True:\n    def mix(z0, eps, t):\n        return (1 - t) * z0 + t * eps",
        "check.mix(mix)",
    ],
    "a lambda": [IMPORTS, "mix = lambda z0, eps, t: z0 + t * (eps - z0)\nmix = check.mix(mix)"],
    "a helper below": [
        IMPORTS,
        MIX.replace("t * eps", "fade(t) * eps"),
        "def fade(t):\n    return SCALE * t",
        "SCALE = 1.0",
    ],
}


@pytest.mark.parametrize("cells", BROKEN_AROUND.values(), ids=BROKEN_AROUND)
def test_a_right_answer_is_found_in_a_broken_notebook(cells, tmp_path):
    found = verdicts(write(tmp_path / "student.ipynb", cells))
    assert {name: v.kind for name, v in found.items()} == {"mix": RIGHT}


def test_what_an_answer_prints_is_not_heard(tmp_path, capfd):
    loud = MIX.replace("    return", "    print('\\ud800' * 1000)\n    return")
    assert grading.main([str(write(tmp_path / "student.ipynb", [IMPORTS, loud]))]) == 0
    said = capfd.readouterr()
    assert said.out.endswith("  ✓ mix: right\n  1 right, 0 wrong, 0 not attempted\n")
    assert len(said.out + said.err) < 500


def test_answers_that_end_or_hang_cost_only_themselves(tmp_path, capsys):
    cells = [
        IMPORTS + "\nimport os\nHALF = 127.5",
        "def mix(z0, eps, t):\n    os._exit(0)\nmix = check.mix(mix)",
        "def count_plushies(*n):\n    while True:\n        pass\n" + COUNTED,
        TO_MODEL,
    ]
    assert grading.main(["--seconds", "0.5", str(write(tmp_path / "student.ipynb", cells))]) == 1
    said = capsys.readouterr().out
    assert "  ✗ mix: it ended Python, or would not be stopped.\n" in said
    assert "  ✗ count_plushies: it had not ended after 0.5 seconds, and was stopped (line 2 of the function)" in said
    assert "  ✓ to_model: right\n  1 right, 2 wrong, 0 not attempted\n" in said


def test_every_answer_gets_its_own_line(tmp_path, capsys):
    cells = [
        IMPORTS,
        "def mix(z0, eps, t):\n    return (1 - t * z0 + t * eps\nmix = check.mix(mix)",
        TO_MODEL,  # HALF is bound nowhere
        "count_plushies = 3\n" + COUNTED,
    ]
    several = [write(tmp_path / "a" / "student.ipynb", cells), write(tmp_path / "b.ipynb", [IMPORTS, MIX, COUNTED])]
    assert grading.main([str(path) for path in several]) == 1
    said = capsys.readouterr().out
    assert re.search(r"✗ mix: Python cannot read it: .* in line 2 of its cell\.\n", said)
    assert "✗ to_model: it stopped with NameError: name 'HALF' is not defined (line 2 of the function).\n" in said
    assert "✗ count_plushies: expected a function, got int.\n" in said
    assert "  ✓ mix: right\n  ○ count_plushies: not attempted\n  1 right, 0 wrong, 1 not attempted\n" in said


def test_another_exercise_of_the_notebook_is_what_the_notebook_goes_on_with(tmp_path, capsys):
    """`cfg_combine` is a gap, and so the course's own stands in for it below."""
    cells = [
        "from course_utils.lab.exercises import classifier_free_guidance as check",
        "def cfg_combine(eps_uncond, eps_cond, guidance_scale):\n    ...\ncfg_combine = check.cfg_combine(cfg_combine)",
        "def negative_prompt(u, c, n, w, v):\n    return cfg_combine(u, c, w) - v * (n - u)\n"
        "negative_prompt = check.negative_prompt(negative_prompt)",
    ]
    assert grading.main([str(write(tmp_path / "student.ipynb", cells))]) == 0
    assert "  ○ cfg_combine: not attempted\n  ✓ negative_prompt: right\n" in capsys.readouterr().out


NO_NOTEBOOKS = {
    "nothing": (None, "there is no such file"),
    "empty": ("", "it is no notebook (no JSON in UTF-8)"),
    "a picture": (b"\x89PNG\xff\x00", "it is no notebook (no JSON in UTF-8)"),
    "HTML": ("<html>", "it is no notebook (no JSON in UTF-8)"),
    "a list": ("[]", "it is no notebook (no cells in it)"),
    "a number": ("3", "it is no notebook (no cells in it)"),
    "no cells": ('{"nbformat": 4}', "it is no notebook of today's format"),
    "an old format": ('{"nbformat": 3, "worksheets": [{"cells": []}]}', "it is no notebook of today's format"),
    "cells of another type": ('{"cells": {"a": 1}}', "it is no notebook of today's format"),
    "strange cells": ('{"cells": [1, null, {"cell_type": "code", "source": 3}]}', "it has no exercises of the course"),
    "deep": ("[" * 100_000, "it is no notebook (no JSON in UTF-8)"),
    "other code": ('{"cells": [{"cell_type": "code", "source": "x = 1"}]}', "it has no exercises of the course"),
}


@pytest.mark.parametrize(("content", "message"), NO_NOTEBOOKS.values(), ids=NO_NOTEBOOKS)
def test_what_is_no_notebook_is_one_line(content, message, tmp_path, capsys):
    path = tmp_path / "student.ipynb"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert grading.main([str(path)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{path}: {message}")
    assert said.err.count("\n") == 1


def test_a_folder_is_no_notebook_and_the_others_are_checked(tmp_path, capsys):
    good = write(tmp_path / "good.ipynb", [IMPORTS, MIX])
    assert grading.main([str(tmp_path), str(good)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"{tmp_path}: it cannot be read: ")
    assert "✓ mix: right" in said.out


def test_the_command_itself(tmp_path):
    """From another folder, on a console that knows no ✓."""
    path = write(tmp_path / "student.ipynb", [IMPORTS, RIGHT_COUNT])
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "course_utils.lab.exercises", path.name],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "count_plushies: right" in done.stdout


def test_exercises_have_names_of_their_own():
    """The command finds them by name alone."""
    assert len(notebook_answers.every_exercise()) == COUNT
