"""A real JupyterLab in a real Chromium, and the few things that a test does with a notebook.

`lab` copies the notebooks to a temporary folder and serves them from there, so that what is committed never
changes. Screenshots go to the folder that `COURSE_ARTIFACTS` names, or to `.cache/browser`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM_ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Questions and look-ups on the network that a first start of JupyterLab brings.
QUIET = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "extensionmanager-extension/plugin": {"enabled": False},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


def _missing(what: str) -> None:
    """Skip on a machine without `what`; where CI is set, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must run the browser tests")
    pytest.skip(f"{what} is not installed (requirements-dev.txt; Debian: apt install chromium)")


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab and the folder that it serves."""

    url: str
    token: str
    folder: Path
    log: Path


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a free port, with a copy of notebooks/ and settings of its own, on the `ci` profile."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    source = Path(os.environ.get("COURSE_NOTEBOOKS", ROOT / "notebooks"))
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    for name, settings in QUIET.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    environment = {
        **os.environ,
        "COURSE_PROFILE": "ci",
        "COURSE_CACHE": str(home / "cache"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "PYTHONPATH": os.pathsep.join(p for p in (str(ROOT), os.environ.get("PYTHONPATH")) if p),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), folder, home / "lab.log")
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={running.token}",
        f"--ServerApp.root_dir={folder}", "--expose-app-in-browser",
    ]  # fmt: skip
    with running.log.open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home)
    try:
        _wait_until_up(running, process)
        yield running
    finally:
        process.terminate()  # which ends its kernels too
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_up(lab: Lab, process: subprocess.Popen, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{lab.url}/api/status?token={lab.token}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{lab.log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="session")
def chromium():
    """Chromium under Playwright, one for all tests."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    if not executable:
        _missing("chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS, timeout=180_000)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """An empty page in a context of its own; a test that fails leaves its last screenshot."""
    context = chromium.new_context(viewport={"width": 1380, "height": 1300})
    page = context.new_page()
    page.set_default_timeout(120_000)
    yield page
    screenshot(page, "last")
    context.close()


def screenshot(page, name: str) -> Path:
    """Save what the page shows as NAME.png among the artifacts."""
    folder = Path(os.environ.get("COURSE_ARTIFACTS", ROOT / ".cache" / "browser"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png")
    return folder / f"{name}.png"


def open_notebook(page, lab: Lab, name: str) -> None:
    """Open a notebook in JupyterLab, the file browser folded away, and wait for its kernel."""
    if not (lab.folder / name).exists():
        pytest.fail(f"there is no notebook {name}; found {sorted(p.name for p in lab.folder.glob('*.ipynb'))}")
    page.goto(f"{lab.url}/lab/tree/{name}?token={lab.token}&reset")
    page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
    page.evaluate("jupyterapp.shell.collapseLeft()")
    page.wait_for_function(
        "jupyterapp.shell.currentWidget.sessionContext?.session?.kernel?.status === 'idle'", timeout=180_000
    )


def run_all(page, seconds: float = 300) -> list[dict]:
    """Run all cells, wait until the kernel has finished, and return the notebook's cells.

    A cell that raises, or that leaves something on stderr, fails the test.
    """
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    wait_idle(page, seconds)
    cells = page.evaluate("jupyterapp.shell.currentWidget.content.model.sharedModel.toJSON().cells")
    for cell in cells:
        for output in cell.get("outputs", []):
            text = "".join(output.get("text", "")) or "\n".join(output.get("traceback", []))
            if output["output_type"] == "error" or output.get("name") == "stderr":
                pytest.fail(f"cell\n{''.join(cell['source'])}\nsays\n{text}")
    return cells


def wait_idle(page, seconds: float = 300) -> None:
    """Wait until every code cell with code in it has run and the kernel is idle."""
    page.wait_for_function(
        """() => {
            const panel = jupyterapp.shell.currentWidget;
            const cells = panel.content.model.sharedModel.cells;
            const failed = c => c.outputs.some(o => o.output_type === 'error');
            const code = cells.filter(c => c.cell_type === 'code' && c.source.trim());
            const idle = panel.sessionContext.session.kernel.status === 'idle';
            return idle && (code.every(c => c.execution_count) || code.some(failed));
        }""",
        timeout=1000 * seconds,
        polling=200,
    )


def clear_outputs(page) -> None:
    """Forget the saved outputs, so that what is seen was made now."""
    page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")


def image_bytes(locator) -> bytes:
    """The encoded bytes that an image on the page shows."""
    return bytes(locator.evaluate("async e => Array.from(new Uint8Array(await (await fetch(e.src)).arrayBuffer()))"))
