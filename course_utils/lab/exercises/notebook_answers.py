"""The answers in a student's notebook: which exercises it has, and what each answer needs to run, without the rest.

Nothing of a notebook is run here but single statements, on request: imports, and what an answer's names are bound
to. A cell that Python cannot read, a magic, a training are passed over.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import json
import re
import symtable
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from course_utils.lab.exercises import SUBJECTS, deadline
from course_utils.lab.exercises.checking import Exercise
from course_utils.lab.exercises.returns import type_name

_PACKAGE = __package__ or "course_utils.lab.exercises"
_TRANSPARENT = re.compile(r"\s*%%(time|capture|prun)\b.*\n")  # magics that run their cell as it stands


class NoNotebook(Exception):
    """The file is no notebook, or none with exercises."""


@dataclass(frozen=True)
class Statement:
    """A statement at the top of a cell: what it binds, which names it needs, and its place, for the order."""

    node: ast.stmt
    binds: frozenset[str]
    needs: frozenset[str]
    cell: int


@dataclass
class Notebook:
    """What was found: the exercises in order, the statements, and for cells that cannot be read, their errors."""

    exercises: dict[str, Exercise]
    statements: list[Statement]
    unreadable: dict[str, str] = field(default_factory=dict)


def read_cells(path: Path) -> list[str]:
    """The code cells of a notebook (nbformat 4), or `NoNotebook`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoNotebook("there is no such file") from None
    except OSError as error:
        raise NoNotebook(f"it cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise NoNotebook("it is no notebook (no JSON in UTF-8)") from None
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        hint = " of today's format: open it in Jupyter and save it" if isinstance(content, dict) else ""
        raise NoNotebook(f"it is no notebook{hint or ' (no cells in it)'}")
    sources = [c.get("source") for c in cells if isinstance(c, dict) and c.get("cell_type") == "code"]
    joined = ["".join(map(str, s)) if isinstance(s, list) else s for s in sources]
    return [s for s in joined if isinstance(s, str)]


def read(path: Path) -> Notebook:
    """Finds the exercises of a notebook. Runs nothing of it."""
    from IPython.core.inputtransformer2 import TransformerManager

    every, cells = every_exercise(), read_cells(path)
    statements: list[Statement] = []
    unreadable: dict[str, str] = {}
    for number, source in enumerate(cells):
        source = _TRANSPARENT.sub("", source, count=1) if _TRANSPARENT.match(source) else source
        try:
            tree = ast.parse(TransformerManager().transform_cell(source))
            statements += [_statement(node, number) for node in tree.body]
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            line = f" in line {error.lineno} of its cell" if isinstance(error, SyntaxError) else ""
            for name in re.findall(r"(?m)^\s*def (\w+)", source):
                unreadable[name] = f"Python cannot read it: {getattr(error, 'msg', None) or type(error).__name__}{line}"
    asked = _asked_for(cells, every)
    if not asked:
        raise NoNotebook("it has no exercises of the course")
    defined_later = {name for s in statements for name in s.binds if not _is_check(s.node, name)}
    unreadable = {name: why for name, why in unreadable.items() if name not in defined_later}
    return Notebook({name: every[name] for name in asked}, statements, unreadable)


def every_exercise() -> dict[str, Exercise]:
    """All exercises of the course by name."""
    modules = [importlib.import_module(f"{_PACKAGE}.{subject}") for subject in SUBJECTS]
    return {name: e for m in modules for name, e in vars(m).items() if isinstance(e, Exercise)}


def _asked_for(cells: list[str], every: dict[str, Exercise]) -> list[str]:
    """The exercises whose checks a notebook calls, in its order; if that was deleted, those that it defines."""
    text = "\n".join(cells)
    checked = [name for name in re.findall(r"\.(\w+)\(\s*\1\b", text) if name in every]
    return list(dict.fromkeys(checked or [n for n in re.findall(r"(?m)^\s*def (\w+)\(", text) if n in every]))


def _statement(node: ast.stmt, cell: int) -> Statement:
    module = ast.Module([node], [])
    table = symtable.symtable(ast.unparse(ast.fix_missing_locations(module)), "<cell>", "exec")
    binds = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    tables, needs = [table], set()
    while tables:
        inner = tables.pop()
        tables += inner.get_children()
        needs |= {s.get_name() for s in inner.get_symbols() if s.is_referenced() and (s.is_global() or inner is table)}
    return Statement(node, frozenset(binds), frozenset(needs), cell)


def _is_check(node: ast.stmt, name: str) -> bool:
    """`mix = check.mix(mix)`, in its common forms."""
    return (
        isinstance(node, (ast.Assign, ast.AnnAssign))
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == name
    )


def answer(notebook: Notebook, name: str) -> tuple[Any, str]:
    """What a notebook binds an exercise's name to, and why not if it cannot be had ("" if it can).

    Runs the notebook's imports and what the name needs, in the notebook's order, each statement with its own limit.
    """
    if name in notebook.unreadable:
        return None, notebook.unreadable[name]
    chosen, names = set(), [name]
    bound = [(i, s) for i, s in enumerate(notebook.statements) if not (name in s.binds and _is_check(s.node, name))]
    if not any(name in s.binds for _, s in bound):
        return notebook.exercises[name].course, ""
    for i, s in bound:
        if isinstance(s.node, ast.ImportFrom) and s.node.names[0].name == "*":
            chosen.add(i)
    while names:
        wanted = names.pop()
        for i, s in bound:
            if wanted in s.binds and i not in chosen:
                chosen.add(i)
                names += s.needs - set(vars(builtins))
    namespace: dict[str, Any] = {"__name__": "__main__"}
    trouble = ""
    for i in sorted(chosen):
        statement = notebook.statements[i]
        error = _run(statement.node, namespace)
        if error and name in statement.binds:
            trouble = error
    if name not in namespace:
        return None, trouble or "nothing is bound to its name"
    return namespace[name], ""


def _run(node: ast.stmt, namespace: dict[str, Any]) -> str:
    """Runs a statement, and says what stopped it."""
    filename = f"<cell, line {node.lineno}>"
    code = compile(ast.Module([node], []), filename, "exec")
    execute: Callable = exec
    try:
        deadline.within(deadline.SECONDS, execute, code, namespace)
    except deadline.OutOfTime:
        return f"its cell had not ended after {deadline.SECONDS:g} seconds"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"its cell stopped with {type_name(error)}"
    return ""
