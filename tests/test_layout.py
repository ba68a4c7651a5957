"""The package's rooms: imports point one way, and the map in CONTRIBUTING names every module."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "course_utils"
FLOORS = [
    {"arguments", "files", "images", "losses", "runtime", "sealed"},
    {"datasets"},
    {"models"},
    {"external"},
    {"diffusion"},
    {"checkpoints"},
    {"evaluation"},
    {"training"},
    {"lab"},
]
MODULES = sorted(PACKAGE.rglob("*.py"))


def floor(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imported_rooms(path: Path) -> set[str]:
    """The first part, below the package, of everything that a module imports from it, lazily or not."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "course_utils":
            rooms |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course_utils."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("course_utils.")}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        assert not imported_rooms(path)
        return
    above = [other for other in imported_rooms(path) if floor(other) > floor(room)]
    assert not above, f"{room} stands above {above}"


def test_the_map_names_every_module():
    tree = re.search(r"```\ncourse_utils/.*?```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)[0]
    named = set(re.findall(r"([a-z][a-z_0-9]*)\s+\d+", tree))
    missing = {p.stem for p in MODULES if not p.stem.startswith("__")} - named
    assert not missing
