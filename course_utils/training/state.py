"""An interrupted run on disk. `accelerate` saves and loads it; here is when a save is complete, whole and of this run.

Each save is a sealed folder, `STEP-of-STEPS`, so not one bit of it can change unnoticed. The seal says what the run is
made of (recipe, data, seed, the models that it builds on), and has every process's random numbers.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import SAFE_WEIGHTS_NAME, gather_object
from safetensors.torch import load as load_bytes
from torch import Tensor, nn

from course_utils import files
from course_utils.training.processes import TrainingError, on_main
from course_utils.training.seals import SEAL, clear, opened, seal, unnamed

SAVE = re.compile(r"(\d+)-of-\d+")
ASIDE = re.compile(r"\d+-of-\d+\.aside-(\d+)")
KEPT, SET_ASIDE = 2, 3  # saves of a run; those that could not be used


def saves(folder: Path, named: re.Pattern[str] = SAVE) -> list[tuple[int, Path]]:
    """(steps done, subfolder) of every save in a run's folder, the newest last."""
    found = ((named.fullmatch(path.name), path) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted((int(name[1]), path) for name, path in found if name)


def saves_below(folder: Path) -> list[tuple[int, Path]]:
    """The saves of a run and of the runs in the folders below: a sweep has one for each member."""
    below = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [*saves(folder), *(save for path in below for save in saves_below(path))]


def remove(folder: Path) -> None:
    """Remove a run's saves, those of the runs below it, and the folders that are empty then."""
    if not folder.is_dir():
        return
    clear(folder, [path for _, path in saves(folder)])
    for path in folder.iterdir():
        if path.is_dir():
            remove(path)
    if not any(folder.iterdir()):
        folder.rmdir()


class RunState:
    """A run's state in a folder: modules, their averages, optimizers, each process's random numbers, and the history.

    Every process calls every method. The two newest saves are kept, so that a run whose newest is damaged goes on from
    the one before. `made_of` names what the run is made of; a save of a run that is made of something else is set
    aside, like a damaged one, and the run starts anew.
    """

    def __init__(
        self,
        folder: str | Path,
        accelerator: Accelerator,
        modules: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        generator: torch.Generator,
        steps: int,
        made_of: Mapping[str, str],
    ):
        self.folder, self.accelerator, self.generator, self.steps = Path(folder), accelerator, generator, steps
        self.modules, self.optimizers = nn.ModuleList(modules), optimizers
        self.made_of = {**made_of, "steps": str(steps), "processes": str(accelerator.num_processes)}
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"state: got {self.folder}, a file; expected a folder")
        # Prepared for evaluation, modules are registered and nothing else: `fit` averages gradients itself.
        accelerator.prepare_model(self.modules, device_placement=False, evaluation_mode=True)
        for optimizer in optimizers:
            accelerator.prepare_optimizer(optimizer, device_placement=False)
        accelerator.register_load_state_pre_hook(self._load_modules)

    def load(self) -> tuple[int, dict]:
        """Bring everything to where the newest save left it: the steps done and the history; 0 and {} without a save.

        What cannot be used is named in one line and set aside, and leaves everything as it was.
        """
        keeping: list[Any] = [self.modules, *self.optimizers]
        before, random = copy.deepcopy([part.state_dict() for part in keeping]), self._random()
        for _, path in on_main(self.accelerator, lambda: saves(self.folder)[::-1]):
            found, failure = self._everywhere(self._take, path)
            if not failure:
                self.accelerator.print(f"goes on from step {found[0]} of {self.steps}", flush=True)
                return found
            for part, values in zip(keeping, before, strict=True):
                part.load_state_dict(values)
            self._set_random(random)
            on_main(self.accelerator, partial(self._set_aside, path, failure))
        return 0, {}

    def save(self, step: int, history: dict) -> None:
        """Keep the run as it is after so many steps.

        Raises FloatingPointError for values that are not finite, TrainingError if the folder cannot be written; what
        was kept before is kept on.
        """
        if name := self._not_finite():
            raise FloatingPointError(f"training went wrong by step {step}: {name} is not finite")
        gather, device = self.accelerator.gather, self.accelerator.device
        random = {k: gather(v[None].to(device)).cpu() for k, v in self._random().items()}  # a row for each process
        about = {"step": step, "made_of": self.made_of, "history": history}
        folder = on_main(self.accelerator, partial(unnamed, self.folder))
        for act, arguments in (
            (self._begin, (folder,)),
            (self.accelerator.save_state, (str(folder),)),
            (self._finish, (folder, random, about)),
        ):
            if failure := self._everywhere(act, *arguments)[1]:
                on_main(self.accelerator, partial(self._give_up, step, failure))

    def _everywhere(self, act: Callable[..., Any], *arguments: object) -> tuple[Any, str]:
        """What `act` returns in this process, and why it failed in one of them, or nothing."""
        result, reason = None, ""
        try:
            result = act(*arguments)
        except OSError as error:
            reason = f"{Path(error.filename or self.folder).name}: {files.why(error)}"
        except Exception as error:  # torch, safetensors and pickle have an error each for every way to fail
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            reason = kind + " ".join(str(error).split())
        return result, next(filter(None, gather_object([reason])), "")

    def _random(self) -> dict[str, Tensor]:
        """The states of this process's random numbers.

        accelerate keeps the global ones, too, but not those of MPS, and says nothing when it cannot set them.
        """
        own, device = {"generator": self.generator.get_state(), "cpu": torch.get_rng_state()}, self.accelerator.device
        return own | ({"device": getattr(torch, device.type).get_rng_state()} if device.type in ("cuda", "mps") else {})

    def _set_random(self, states: Mapping[str, Tensor]) -> None:
        self.generator.set_state(states["generator"])
        torch.set_rng_state(states["cpu"])
        if "device" in states:
            getattr(torch, self.accelerator.device.type).set_rng_state(states["device"])

    def _not_finite(self) -> str:
        """The name of a weight, an average or a moment that is not finite, if there is one."""
        moments = [pair for optimizer in self.optimizers for of in optimizer.state.values() for pair in of.items()]
        values = [*self.modules.state_dict().items(), *moments]
        return next((name for name, value in values if not value.isfinite().all()), "")

    def _begin(self, folder: Path) -> None:
        if self.accelerator.is_main_process:
            clear(self.folder)
            files.check_writable(folder / SEAL)

    def _finish(self, folder: Path, random: dict[str, Tensor], about: dict) -> None:
        """The seal, and with it the name. Only then do earlier saves go."""
        if self.accelerator.is_main_process:
            seal(folder, about, random)
            name = self.folder / f"{about['step']}-of-{self.steps}"
            files.patiently(partial(folder.replace, name))
            clear(self.folder, [path for _, path in saves(self.folder)[:-KEPT]])

    def _give_up(self, step: int, failure: str) -> None:
        clear(self.folder)
        kept = [done for done, _ in saves(self.folder)]
        raise TrainingError(
            f"step {step} could not be saved in {self.folder} ({failure}); "
            + (f"step {kept[-1]} is kept, and the same run goes on from it" if kept else "nothing is kept yet")
        )

    def _set_aside(self, path: Path, reason: str) -> None:
        earlier = saves(self.folder, ASIDE)
        aside = path.with_name(f"{path.name}.aside-{earlier[-1][0] + 1 if earlier else 1}")
        try:
            files.patiently(partial(path.rename, aside))
        except OSError as error:
            raise TrainingError(
                f"{path} is of no use and cannot be set aside ({files.why(error)}); remove it"
            ) from error
        print(f"{path} is set aside, as {aside.name}: {reason}", flush=True)
        clear(self.folder, [old for _, old in earlier[: 1 - SET_ASIDE]])

    def _take(self, path: Path) -> tuple[int, dict]:
        """Load a save if it is whole and of this run: steps done and history. Raises an error of any kind if it is not."""
        about, rows = opened(path)
        _compare(dict(about["made_of"]), self.made_of)
        step = int(about["step"])
        if path.name != f"{step}-of-{self.steps}" or not 0 < step <= self.steps:
            raise ValueError(f"it is not what its name says (step {step} of {self.steps})")
        processes, settings = self.accelerator.num_processes, [o.state_dict()["param_groups"] for o in self.optimizers]
        _compare(_forms(rows), _forms({k: v.expand(processes, *v.shape) for k, v in self._random().items()}))
        self.accelerator.load_state(str(path))
        for optimizer, own in zip(self.optimizers, settings, strict=True):
            for group, here in zip(optimizer.param_groups, own, strict=True):
                group.update(here, params=group["params"])
            for p, moments in optimizer.state.items():
                _compare(_forms(moments), _forms({"step": torch.zeros(()), "exp_avg": p, "exp_avg_sq": p}))
        if name := self._not_finite():
            raise ValueError(f"it holds values that are not finite ({name})")
        # Clones, because torch crashes when a generator's state is a row of a larger tensor.
        self._set_random({name: row[self.accelerator.process_index].clone() for name, row in rows.items()})
        return step, dict(about["history"])

    def _load_modules(self, models: list[nn.Module], folder: str) -> None:
        """In the place of accelerate, which maps the file, and takes weights of any type."""
        models.clear()
        found = load_bytes(files.read(Path(folder) / SAFE_WEIGHTS_NAME))
        _compare(_forms(found), _forms(self.modules.state_dict()))
        self.modules.load_state_dict(found)


def _compare(there: Mapping[str, str], here: Mapping[str, str]) -> None:
    for key in sorted(there.keys() | here.keys()):
        if there.get(key) != here.get(key):
            raise ValueError(
                f"it is of another run ({key}: {there.get(key, 'none')} there, {here.get(key, 'none')} here)"
            )


def _forms(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {name: f"{[*value.shape]} {value.dtype}" for name, value in tensors.items()}
