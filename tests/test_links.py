"""Every relative link in a notebook or a Markdown file opens, on disk and where `make lab` serves the course."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "benchmarks", "data", "notebooks", "tests")
DOCUMENTS = sorted(path for folder in FOLDERS for kind in ("*.md", "*.ipynb") for path in (ROOT / folder).glob(kind))
LINK = re.compile(r"""\]\(\s*<?([^)\s>]+)|(?:href|src)\s*=\s*["']([^"']+)|^\s*\[[^\]]+\]:\s*(\S+)""", re.M)
CODE = re.compile(r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$", re.S)


def text_of(path: Path) -> str:
    raw = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        raw = "\n".join("".join(c["source"]) for c in json.loads(raw)["cells"] if c["cell_type"] == "markdown")
    return CODE.sub("", raw)


def links(text: str) -> list[str]:
    """The targets of a text's relative links, without what follows # or ?; those into the same text are left out."""
    found = [urlsplit(next(filter(None, groups))) for groups in LINK.findall(text)]
    return [unquote(link.path) for link in found if link.path and not link.scheme and not link.netloc]


def served() -> Path:
    """The folder that `make lab` shows in JupyterLab: nothing above it can be opened there."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return ROOT / re.search(r"jupyter lab .*--(?:notebook-dir|ServerApp\.root_dir)=(\S+)", makefile)[1]


def test_links_are_found():
    text = "[a](x.md#part) <a href='y/'>b</a> `[c](no)` [d](https://e.org/f) ![g](<h%20i.png>)\n[j]: k.md\n$[l](m)$ [n](#o)"
    assert links(CODE.sub("", text)) == ["x.md", "y/", "h i.png", "k.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_point_at_files(path):
    for link in links(text_of(path)):
        target = (path.parent / link).resolve()
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link


@pytest.mark.parametrize("path", [p for p in DOCUMENTS if p.suffix == ".ipynb"], ids=lambda p: p.name)
def test_a_notebooks_links_stay_within_what_is_served(path):
    assert path.is_relative_to(served().resolve())
    for link in links(text_of(path)):
        target = (path.parent / link).resolve()
        assert target.is_relative_to(served().resolve()), link
        hidden = [part for part in target.relative_to(ROOT).parts if part.startswith(".")]
        assert not hidden, "JupyterLab serves no hidden files"
