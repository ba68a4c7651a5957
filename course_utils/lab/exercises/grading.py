"""Checks the answers in students' notebooks: `python -m course_utils.lab.exercises NOTEBOOK [...]`.

Of a notebook only the answers are run, with the imports and helpers that they need, in a process of its own. Ends
with 0 if nothing is wrong, with 1 if an answer is wrong, with 2 if a file is no notebook of the course.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from course_utils.lab.exercises import deadline, notebook_answers
from course_utils.lab.exercises.checking import GOES_ON, NOT_ATTEMPTED, RIGHT, WRONG, Verdict
from course_utils.lab.exercises.notebook_answers import NoNotebook

SLACK = 60.0  # seconds beside an answer's own, for a process to start and for torch to be imported
READY = "ready"


def check(path: Path, seconds: float) -> list[Verdict]:
    """The verdicts on a notebook's exercises, in its order. An answer that ends its process costs only itself."""
    exercises = list(notebook_answers.read(path).exercises)
    verdicts: list[Verdict] = []
    while len(verdicts) < len(exercises):
        left = exercises[len(verdicts) :]
        fresh = list(_in_a_process(path, left, seconds))
        if len(fresh) < len(left):
            lost = left[len(fresh)]
            fresh.append(Verdict(WRONG, (f"✗ {lost}: it ended Python, or would not be stopped.",)))
        verdicts += fresh
    return verdicts


def _in_a_process(path: Path, exercises: Sequence[str], seconds: float) -> list[Verdict]:
    """As many verdicts as a fresh process lives to give."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_work, args=(path.resolve(), exercises, seconds, there), daemon=True)
    process.start()
    there.close()
    verdicts: list[Verdict] = []
    ready = False
    try:
        ready = here.poll(SLACK) and here.recv() == READY
        while ready and len(verdicts) < len(exercises) and here.poll(3 * seconds + SLACK):
            verdicts.append(here.recv())
    except (EOFError, OSError):
        pass  # the process has ended, with or without having begun
    finally:
        process.kill()
        process.join()
    if not ready:
        raise NoNotebook("the process for its answers did not start")
    return verdicts


def _work(path: Path, exercises: Sequence[str], seconds: float, results: Connection) -> None:
    """Judges answers one after another, deaf to what they print."""
    sys.stdout = sys.stderr = nowhere = open(os.devnull, "w", encoding="utf-8", errors="replace")  # noqa: SIM115
    for stream in (1, 2):
        os.dup2(nowhere.fileno(), stream)
    os.environ.setdefault("MPLBACKEND", "agg")
    os.chdir(path.parent)
    sys.path.insert(0, str(path.parent))
    deadline.SECONDS = seconds
    notebook = notebook_answers.read(path)
    results.send(READY)
    for name in exercises:
        answer, trouble = notebook_answers.answer(notebook, name)
        wrong = Verdict(WRONG, (f"✗ {name}: {trouble}.",))
        results.send(wrong if trouble else notebook.exercises[name].verdict(answer))


def _report(verdicts: Sequence[Verdict]) -> int:
    """Prints the lines, and how many are right. 1 if one is wrong, else 0."""
    for verdict in verdicts:
        name = verdict.lines[0].split()[1].rstrip(":")
        if verdict.kind == RIGHT:
            print(f"  ✓ {name}: right")
        elif verdict.kind == WRONG:
            print(*(f"  {line}" for line in verdict.lines if GOES_ON not in line), sep="\n")
        else:
            print(f"  ○ {name}: not attempted")
    kinds = [NOT_ATTEMPTED if v.kind not in (RIGHT, WRONG) else v.kind for v in verdicts]
    print("  " + ", ".join(f"{kinds.count(kind)} {kind}" for kind in (RIGHT, WRONG, NOT_ATTEMPTED)), flush=True)
    return int(WRONG in kinds)


def main(arguments: Sequence[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that knows no ✓ shows a question mark
    parser = argparse.ArgumentParser(prog="python -m course_utils.lab.exercises", description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, metavar="NOTEBOOK")
    parser.add_argument("--seconds", type=float, default=deadline.SECONDS, help="what an answer may take (%(default)s)")
    options = parser.parse_args(arguments)
    worst = 0
    for path in options.notebooks:
        try:
            verdicts = check(path, options.seconds)
        except NoNotebook as error:
            print(f"{path}: {error}", file=sys.stderr, flush=True)
            worst = 2
            continue
        print(path)
        worst = max(worst, _report(verdicts))
    return worst
