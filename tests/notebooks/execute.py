"""Execute notebooks in place and keep what a reader wants to see: `python tests/notebooks/execute.py FILE...`.

Pictures and text stay. Widget state, widget views, timings and stderr go: they break code hosts or differ between runs.
A notebook that fails is left as it was. How many code cells it has is saved with it, so that validation misses one that goes.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what should not be saved, in place."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata["course"] = {"code_cells": sum(cell.cell_type == "code" for cell in notebook.cells)}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        kept = []
        for output in cell.outputs:
            if output.get("name") == "stderr":
                print(f"  stderr dropped: {output.text.strip()[:300]}")
                continue
            if WIDGET in output.get("data", {}):
                output.data.pop(WIDGET)  # its text stays
            kept.append(output)
        cell.outputs = kept
    return notebook


def slowest(notebook: nbformat.NotebookNode, count: int = 8) -> str:
    """The cells that took longest, and their seconds: "24: 31 s, 50: 29 s"."""
    took = {}
    for number, cell in enumerate(notebook.cells):
        times = cell.metadata.get("execution", {})
        if {"iopub.execute_input", "shell.execute_reply"} <= times.keys():
            start, end = (
                datetime.fromisoformat(times[key].rstrip("Z")) for key in ("iopub.execute_input", "shell.execute_reply")
            )
            took[number] = (end - start).total_seconds()
    return ", ".join(f"{k}: {took[k]:.0f} s" for k in sorted(took, key=lambda k: -took[k])[:count])


def execute(path: Path, timeout: int = 900) -> float:
    """Run a notebook in its own folder, say which cells took longest, and save it with its outputs. Returns its seconds."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the kernel inherits it, and its OpenMP reads it at the start
    notebook = nbformat.read(path, as_version=4)
    start = time.monotonic()
    NotebookClient(
        notebook, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    ).execute()
    took = time.monotonic() - start
    print(f"  slowest cells: {slowest(notebook)}", flush=True)
    nbformat.write(tidy(notebook), path)
    return took


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name} ...", flush=True)
        print(f"  {execute(Path(name)):.0f} s, {Path(name).stat().st_size / 1e6:.2f} MB", flush=True)
