"""Is this machine ready for the course? Each check says what it found and, if something is wrong, how to mend it.

A check is a function without side effects that lasts; what it looks at can be given as an argument, which is how
the tests break it. `check_all` runs them in the order in which one failure explains the next.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course_utils import checkpoints, runtime

OLDEST, NEWEST = (3, 10), (3, 13)
INSTALL = "in the course's folder run `make lab`, or `pip install -r requirements.txt` in this notebook's environment"
PACKAGES = (
    "accelerate",
    "ipywidgets",
    "jupyterlab",
    "lpips",
    "matplotlib",
    "open_clip_torch",
    "safetensors",
    "scikit-image",
)
HOSTS = {"weights on the Hugging Face Hub": "huggingface.co", "torchvision's weights": "download.pytorch.org"}


@dataclass(frozen=True)
class Check:
    """What a check found. `ok` False: something must be mended, and `mend` says how; None: good to know, no more."""

    name: str
    ok: bool | None
    found: str
    mend: str = ""

    @property
    def mark(self) -> str:
        return {True: "✓", False: "✗", None: "·"}[self.ok]


def python_version(version: Sequence[int] = tuple(sys.version_info[:3])) -> Check:
    """Python 3.10 to 3.13, which the course is tested with."""
    found = f"Python {version[0]}.{version[1]}"
    if tuple(version[:2]) < OLDEST:
        return Check("Python", False, found, "install Python 3.10 or newer, delete the folder .venv, run `make lab`")
    if tuple(version[:2]) > NEWEST:
        return Check("Python", None, f"{found}, newer than what the course was tested with; it may well work")
    return Check("Python", True, found)


def packages(names: Iterable[str] = PACKAGES, version_of: Callable[[str], str] = importlib.metadata.version) -> Check:
    """The packages of requirements.txt, as this kernel sees them."""
    missing, found = [], []
    for name in names:
        try:
            found.append(f"{name} {version_of(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", False, f"missing: {', '.join(missing)}", INSTALL)
    return Check("packages", True, ", ".join(found))


def torch_pair(load: Callable[[], Any] = lambda: importlib.import_module("torchvision")) -> Check:
    """torch and torchvision are built for each other: one of torchvision's compiled operators runs."""
    name, own = "torch and torchvision", torch.__version__.split("+")[0]
    mend = "they must come from one place: `pip install --upgrade --force-reinstall torch torchvision`, then restart the kernel"
    try:
        vision = load()
        kept = vision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:  # a mismatch shows as ImportError, RuntimeError, OSError or AttributeError
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return Check(name, False, f"torch {own}; torchvision says: {first}", mend)
    if kept.tolist() != [0]:
        return Check(name, False, f"torch {own}; torchvision's operators give wrong answers", mend)
    return Check(name, True, f"torch {own}, torchvision {vision.__version__.split('+')[0]}")


def device() -> Check:
    """Where the models will run. Any answer is fine; the profile follows it."""
    kind = runtime.device().type
    if kind == "cpu":
        return Check("device", True, f"the CPU, {torch.get_num_threads()} threads: all the course needs")
    return Check("device", True, {"cuda": "an NVIDIA GPU", "mps": "an Apple GPU"}.get(kind, kind))


def chosen_profile() -> Check:
    """The profile in force; a misspelt COURSE_PROFILE is found here."""
    try:
        name = runtime.profile()
    except ValueError as error:
        return Check("profile", False, str(error), "unset COURSE_PROFILE or set it to one of these, restart the kernel")
    asked = "as COURSE_PROFILE asks" if os.environ.get("COURSE_PROFILE") else "picked by the device"
    return Check("profile", True, f"{name}, {asked}")


def widgets(
    version_of: Callable[[str], str] = importlib.metadata.version,
    from_thread: Callable[[], tuple[bool | None, str]] | None = None,
) -> Check:
    """Both halves of the widgets, Python's and the browser's, and whether a widget can be updated from a thread.

    The course's widgets compute in threads. ipykernel 7.0.0 and 7.0.1 lose what threads send, and such a widget stays
    at "loading …" for ever.
    """
    try:
        own, front = version_of("ipywidgets"), version_of("jupyterlab_widgets")
    except importlib.metadata.PackageNotFoundError as error:
        return Check("widgets", False, f"{error.name} is missing", INSTALL + ", then reload the browser's page")
    if int(own.split(".")[0]) < 8 or int(front.split(".")[0]) < 3:
        found = f"ipywidgets {own} and jupyterlab_widgets {front} are too old"
        return Check("widgets", False, found, "`pip install --upgrade ipywidgets`, then reload the browser's page")
    arrives, says = (from_thread or update_from_thread)()
    found = f"ipywidgets {own} with jupyterlab_widgets {front}; {says}"
    if arrives is False:
        mend = '`pip install --upgrade "ipykernel!=7.0.0,!=7.0.1"` in this notebook\'s environment, then restart the kernel'
        return Check("widgets", False, f"{found} (ipykernel {version_of('ipykernel')})", mend)
    return Check("widgets", True, found)


def update_from_thread(seconds: float = 2.0) -> tuple[bool | None, str]:
    """Whether a widget's change in a thread leaves this kernel, as seen by a client that listens as the browser does.

    Returns an answer and its words; None where there is no answer: outside a notebook, and where not even a change in
    the main thread is heard, which says more about the listening than about the kernel. `seconds` bounds each wait.
    """
    try:
        from IPython import get_ipython

        if getattr(get_ipython(), "kernel", None) is None:
            return None, "updates from threads: not in a notebook, not tried"
        from ipywidgets import Layout

        with _listening() as heard:
            widget = Layout()  # the smallest widget: nothing is shown, and no other widgets come with it
            try:
                return _compare(widget, heard, seconds)
            finally:
                widget.close()
    except Exception as error:  # a kernel of another kind, a connection that cannot be opened a second time
        return None, f"updates from threads: could not be tried ({type(error).__name__})"


@contextmanager
def _listening() -> Iterator[Callable[[float], dict[str, Any] | None]]:
    """A client of the kernel that this code runs in. Yields a function: the next message, None after some seconds."""
    from ipykernel.connect import get_connection_file
    from jupyter_client import BlockingKernelClient

    client = BlockingKernelClient(connection_file=get_connection_file())
    client.load_connection_file()
    client.start_channels(shell=False, iopub=True, stdin=False, hb=False, control=False)

    def heard(seconds: float) -> dict[str, Any] | None:
        try:
            return client.get_iopub_msg(timeout=seconds)
        except queue.Empty:
            return None

    try:
        yield heard
    finally:
        client.stop_channels()


def _compare(widget: Any, heard: Callable[[float], dict[str, Any] | None], seconds: float) -> tuple[bool | None, str]:
    """Change a widget in the main thread until that is heard, then once in a thread of its own."""

    def arrives(width: str, wait: float) -> bool:
        end = time.monotonic() + wait
        while (left := end - time.monotonic()) > 0:
            content = (heard(left) or {}).get("content", {})
            if content.get("comm_id") == widget.comm.comm_id:
                if content.get("data", {}).get("state", {}).get("width") == width:
                    return True
        return False

    end = time.monotonic() + seconds
    for count in range(1, 1000):  # what was sent before the client had connected is lost to it, so say it again
        widget.width = f"{count}px"
        if arrives(widget.width, 0.05):
            break
        if time.monotonic() > end:
            return None, "updates from threads: could not be tried (nothing is heard)"

    raised: list[Exception] = []

    def change() -> None:
        try:
            widget.width = "100%"
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=change, name="widget-update", daemon=True)
    thread.start()
    thread.join(seconds)
    if not raised and arrives("100%", seconds):
        return True, "updates from threads arrive"
    why = f" ({type(raised[0]).__name__})" if raised else ""
    return False, f"updates from threads are lost{why}"


def cache(folder: Path | None = None) -> Check:
    """The folder for your own checkpoints can be written to."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder or runtime.cache_dir()) as file:
            file.write(b"course")
    except (OSError, RuntimeError, ValueError) as error:  # a home that is unknown; a name that cannot be a folder's
        mend = "set COURSE_CACHE to a folder that you may write to, and restart the kernel"
        return Check("cache", False, f"not writable: {getattr(error, 'strerror', None) or error}", mend)
    return Check("cache", True, "writable")


def shipped_checkpoints(load: Callable[[str], object] = checkpoints.load) -> Check:
    """Every checkpoint of the course is there, whole, and fits the code."""
    try:
        for name in checkpoints.MODELS:
            load(name)
        listed = checkpoints.manifest()
        size = sum(listed[checkpoints.path_of(name).name]["bytes"] for name in checkpoints.MODELS) / 1e6
    except checkpoints.CheckpointError as error:
        found = str(error).rpartition("; ")[0] or str(error)  # what follows is the cure, which `mend` says
        return Check("checkpoints", False, found, checkpoints.BRINGS_BACK)
    return Check("checkpoints", True, f"{len(checkpoints.MODELS)} models, {size:.0f} MB, all whole")


def network(hosts: dict[str, str] | None = None, seconds: float = 2.0) -> Check:
    """Which servers answer. Nothing in the course needs one; some notebooks show more with one."""
    hosts = HOSTS if hosts is None else hosts
    with ThreadPoolExecutor(len(hosts)) as pool:
        found = dict(zip(hosts, pool.map(lambda host: runtime.reachable(host, seconds), hosts.values()), strict=True))
    there = [name for name, ok in found.items() if ok]
    if not there:
        return Check("network", None, "nothing is reachable; the whole course runs offline")
    return Check("network", None, f"reachable: {', '.join(there)}; used where a notebook says so, never needed")


def check_all() -> list[Check]:
    """All checks, in an order in which the first failure is the one to mend first. A few seconds."""
    checks: dict[str, Callable[[], Check]] = {
        "Python": python_version,
        "packages": packages,
        "torch and torchvision": torch_pair,
        "device": device,
        "profile": chosen_profile,
        "widgets": widgets,
        "cache": cache,
        "checkpoints": shipped_checkpoints,
        "network": network,
    }
    return [_survived(name, check) for name, check in checks.items()]


def _survived(name: str, check: Callable[[], Check]) -> Check:
    """What a check found; if it breaks in a way that it does not know, that, and the checks after it still run."""
    try:
        return check()
    except Exception as error:
        mend = "restart the kernel; if it stays, fetch the course again, and `make lab` in its folder"
        return Check(name, False, f"could not be checked ({type(error).__name__}: {error})", mend)


def report(checks: Sequence[Check]) -> str:
    """A Markdown table of the checks, and below it how to mend what failed."""
    lines = ["| | | found |", "|---|---|---|"]
    lines += [f"| {c.mark} | {c.name} | {' '.join(c.found.replace('|', '/').split())} |" for c in checks]
    failed = [c for c in checks if c.ok is False]
    if not failed:
        return "\n".join(lines) + "\n\n**Ready.** Nothing needs mending."
    mends = [f"{i}. **{c.name}**: {c.mend}." for i, c in enumerate(failed, start=1)]
    return "\n".join([*lines, "", f"**{len(failed)} to mend**, from the top:", "", *mends])
