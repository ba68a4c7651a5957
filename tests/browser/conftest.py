"""A real JupyterLab in a real Chromium. What a test does in them is in `tests.browser.lab`.

`lab` copies the notebooks and what they link to into a temporary folder and serves that, so that what is committed never
changes.
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
from pathlib import Path

import pytest

from tests.browser.lab import ROOT, Lab, clear_outputs, open_notebook, run_all, screenshot

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


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a free port, with copies of what notebooks link to and settings of its own, on the `ci` profile."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "course"  # as under `make lab`, what is served is the folder that notebooks/ lies in
    source = Path(os.environ.get("COURSE_NOTEBOOKS", ROOT / "notebooks"))
    shutil.copytree(source, folder / "notebooks", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copytree(ROOT / "data", folder / "data", ignore=shutil.ignore_patterns("checkpoints"))
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


@pytest.fixture
def notebook(page, lab: Lab, request: pytest.FixtureRequest):
    """The page with the notebook that the test's module names as NOTEBOOK, all of its cells run anew."""
    open_notebook(page, lab, request.module.NOTEBOOK)
    clear_outputs(page)
    run_all(page)
    return page
