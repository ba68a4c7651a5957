"""What the course knows of the machine it runs on: profile, device, folders, seeds.

This is the only module that looks at the machine. Everything else takes a device, a size or a
generator as an argument, so that it can be tested anywhere.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

import torch

PROFILES = ("ci", "cpu", "gpu")


@dataclass(frozen=True)
class Sizes:
    """How much of everything a profile takes. One row per profile, in `SIZES`; nothing else branches on it.

    `pictures`: pictures held in memory. `steps`: optimiser steps of the live training. `batch`: its batch.
    `samples`: prompts behind a plotted point. `width`, `depth`: the live denoiser's. `seconds`: what each rival may
    train in an experiment at equal time.
    """

    pictures: int
    steps: int
    batch: int
    samples: int
    width: int
    depth: int
    seconds: float


SIZES = {
    "ci": Sizes(pictures=256, steps=8, batch=32, samples=16, width=64, depth=2, seconds=0.5),
    "cpu": Sizes(pictures=6000, steps=600, batch=128, samples=96, width=160, depth=3, seconds=36.0),
    "gpu": Sizes(pictures=40000, steps=6000, batch=256, samples=512, width=256, depth=6, seconds=36.0),
}


def profile() -> str:
    """The profile in force: `COURSE_PROFILE` if it is set, else `gpu` where there is one, else `cpu`."""
    asked = os.environ.get("COURSE_PROFILE", "").strip().lower()
    if not asked:
        return "gpu" if device().type != "cpu" else "cpu"
    if asked not in PROFILES:
        raise ValueError(f"COURSE_PROFILE is {asked!r}; expected one of {', '.join(PROFILES)}")
    return asked


def sizes() -> Sizes:
    """The sizes of the profile in force."""
    return SIZES[profile()]


def device() -> torch.device:
    """Where models live: CUDA if there is one, then Apple's MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def synchronize(on: torch.device | str | None = None) -> None:
    """Wait until a device, the course's own by default, has done all that it was asked to. A timing needs this."""
    kind = torch.device(on or device()).type
    if kind == "cuda":
        torch.cuda.synchronize(on)
    elif kind == "mps":
        torch.mps.synchronize()


@lru_cache
def reachable(host: str, seconds: float = 2.0) -> bool:
    """Whether a server answers over HTTPS, under its own certificate, within `seconds`; asked once per run.

    The one deadline bounds everything: the resolver, which may never answer, each address, and the handshake. A
    captive portal, which answers with another certificate, is no answer.
    """
    answered = []

    def ask() -> None:
        try:
            request = urllib.request.Request(f"https://{host}/", method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answered.append(True)
        except urllib.error.HTTPError:  # the server is there, whatever it thinks of its front page
            answered.append(True)
        except (OSError, HTTPException, ValueError):  # ValueError: a name that can be no host's
            pass

    asking = threading.Thread(target=ask, name=f"is {host} reachable", daemon=True)
    asking.start()
    asking.join(seconds)
    return bool(answered)


def generator(seed: int, on: torch.device | str = "cpu") -> torch.Generator:
    """A generator of random numbers. The same seed, device and version of torch give the same draws."""
    return torch.Generator(device=on).manual_seed(seed)


def data_dir() -> Path:
    """The repository's `data/` folder: the datasheet, the sample and the course's own checkpoints."""
    return Path(__file__).resolve().parent.parent / "data"


def cache_dir() -> Path:
    """The folder for a student's own artifacts (ignored by git). `COURSE_CACHE` moves it.

    A relative `COURSE_CACHE` counts from the repository's root, so that notebooks and commands, which start in
    different folders, share one. `~` is the home folder. Raises OSError, with the folder, where there can be none.
    """
    asked = os.environ.get("COURSE_CACHE", "").strip()
    try:
        folder = data_dir().parent / Path(asked or ".cache").expanduser()
    except RuntimeError as error:  # `~` where nobody is at home
        raise FileNotFoundError(errno.ENOENT, "no such home folder", asked) from error
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def setup(seed: int = 0, in_force: str | None = None) -> str:
    """Seed torch, let matrix units run at full speed, and say in one line where the notebook runs.

    A command that was given a profile says that it is `in_force`; in a notebook it is what `profile()` says.
    """
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    kinds = {"cpu": "the CPU", "cuda": "one NVIDIA GPU", "mps": "an Apple GPU"}
    return (
        f"profile {in_force or profile()} on {kinds.get(device().type, device().type)}"
        f" · Python {sys.version_info.major}.{sys.version_info.minor}"
        f" · torch {torch.__version__.split('+')[0]} · seed {seed}"
    )
