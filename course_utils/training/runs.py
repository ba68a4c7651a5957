"""A run of a recipe by the command: where its result and its state lie, what it builds on, and that it runs alone."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from course_utils import checkpoints, files, runtime
from course_utils.training.processes import TrainingError
from course_utils.training.recipes import BUILDS_ON, budget

OWN_FIRST = ("vae", "clip", "denoiser", "sharp_decoder")  # LPIPS measures, so its backbone is always the course's own


@dataclass(frozen=True)
class Run:
    """A recipe with all that its result depends on, and the file that the result goes to."""

    recipe: str
    profile: str
    steps: int
    seed: int
    target: Path
    ship: bool

    @property
    def line(self) -> str:
        """What to call to have the same run again."""
        return f"{self.recipe} --profile {self.profile} --steps {self.steps} --seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where the run is kept. Another length is another schedule of the learning rate, so it is another run."""
        return runtime.cache_dir() / "training" / f"{self.recipe}-{self.profile}-{self.steps}-{self.seed}"

    @property
    def sources(self) -> dict[str, Path]:
        """The checkpoints that the recipe builds on: one's own of the same profile before the course's.

        Where one of them was trained on another (a denoiser on a VAE), they are all one's own or all the course's.
        """
        needed = BUILDS_ON.get(self.recipe, ())
        mine = {name: own_checkpoint(name, self.profile) for name in needed if name in OWN_FIRST and not self.ship}
        found = {name: path for name, path in mine.items() if path.exists()}
        one_stack = any(other in needed for name in needed for other in BUILDS_ON.get(name, ()))
        if one_stack and len(found) < len(mine):
            found = {}
        return {name: found.get(name, checkpoints.path_of(name)) for name in needed}

    def made_of(self) -> dict[str, str]:
        """What the result depends on beside the code: sizes, and the digest of each checkpoint that is built on."""
        sizes = budget(self.recipe, self.profile)
        data = f"{sizes.pictures} pictures, {sizes.batch} per step"
        return {"recipe": self.recipe, "data": data} | {name: digest(path) for name, path in self.sources.items()}

    def built_on(self) -> str:
        """What the recipe builds on, in words; empty if on nothing."""
        course = checkpoints.folder()
        said = [f"the course's {n}" if p.parent == course else f"your {n} ({p})" for n, p in self.sources.items()]
        return " and ".join(said)


def own_checkpoint(name: str, profile: str) -> Path:
    """Where one's own result of a recipe lies: a short trial on `ci` doesn't replace an hour's work on `cpu`."""
    return runtime.cache_dir() / "checkpoints" / profile / f"{name}.safetensors"


def digest(path: Path) -> str:
    """The first half of the SHA-256 of a checkpoint's configuration and weights. Raises CheckpointError."""
    found = hashlib.sha256(json.dumps(checkpoints.header(path)["config"], sort_keys=True).encode())
    for name, value in sorted(checkpoints.load(path, "cpu").state_dict().items()):
        found.update(f"{name} {tuple(value.shape)}".encode())
        found.update(value.contiguous().numpy().tobytes())
    return found.hexdigest()[:32]


def locks() -> Path:
    """The folder of the locks. Raises TrainingError if the cache, which runs need, cannot be written."""
    try:
        folder = runtime.cache_dir() / "training" / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        where = error.filename or "the cache"
        raise TrainingError(
            f"a run keeps its state in the cache, which cannot be written ({where}: {files.why(error)}); "
            "set COURSE_CACHE to a folder of yours"
        ) from error


@contextmanager
def alone(run: Run) -> Iterator[None]:
    """Raises TrainingError if another process trains the same run, or one whose result goes to the same file.

    The system takes the locks back when a process ends, however it ends.
    """
    folder, target = locks(), os.path.normcase(os.path.realpath(run.target))
    with ExitStack() as held:
        for what in (str(run.folder.name), target):
            name = hashlib.sha256(os.fsencode(what)).hexdigest()[:16]
            try:
                held.enter_context(FileLock(folder / f"{name}.lock", timeout=0))
            except Timeout:
                raise TrainingError(
                    f"{run.recipe} is being trained by another process ({what}); wait for it, or stop it first"
                ) from None
        yield


class Round:
    """What a run of all recipes has finished, in a file: killed, it goes on with the first that is missing."""

    def __init__(self, name: str):
        self.path = runtime.cache_dir() / "training" / f"{name}.json"

    def _finished(self) -> dict:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # then the recipes are trained again, which is slow and right
            return {}
        return found if isinstance(found, dict) else {}

    def has(self, run: Run) -> bool:
        """Whether the run's result is whole, and still what this round made, of what it would be made of now."""
        try:
            return self._finished().get(run.recipe) == {**run.made_of(), "result": digest(run.target)}
        except checkpoints.CheckpointError:
            return False

    def add(self, run: Run) -> None:
        """Note that the run's result is safe."""
        finished = self._finished() | {run.recipe: {**run.made_of(), "result": digest(run.target)}}
        files.replace({self.path: json.dumps(finished, indent=2).encode()})

    def close(self) -> None:
        """The round is complete; the next one starts with the first recipe."""
        self.path.unlink(missing_ok=True)
