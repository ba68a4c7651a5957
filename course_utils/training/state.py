"""An interrupted run on disk: one file for each save, `STEP-of-STEPS.safetensors`, which is whole or is not used.

A file carries its digest, so that not one bit of it can change unnoticed, and says what the run is made of: recipe,
data, seed, the models that it builds on. Nothing is pickled, so no file can run anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from course_utils import files, sealed
from course_utils.training.processes import TrainingError, on_main

SAVE = re.compile(r"(\d+)-of-(\d+)\.safetensors")
ASIDE = re.compile(SAVE.pattern + r"\.aside-\d+")
KEPT, SET_ASIDE = 2, 3  # saves of a run; files that could not be used
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter


class _Unfit(Exception):
    """Why a file cannot be gone on from, as the end of a sentence about it."""


def saves(folder: Path) -> list[tuple[int, Path]]:
    """(steps done, file) of every save in a run's folder, the newest last."""
    if not folder.is_dir():
        return []
    named = ((SAVE.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted((int(name[1]), path) for name, path in named if name)


def saves_below(folder: Path) -> list[tuple[int, Path]]:
    """The saves of a run and of the runs in the folders below: a sweep has one for each member."""
    below = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return [*saves(folder), *(save for path in below for save in saves_below(path))]


def remove(folder: Path) -> None:
    """Remove a run's saves, those of the runs below it, and the folders that are empty then."""
    if not folder.is_dir():
        return
    for path in [*(path for _, path in saves(folder)), *folder.glob(".*.partial")]:
        path.unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.is_dir():
            remove(path)
    if not any(folder.iterdir()):
        folder.rmdir()


class RunState:
    """A run's state in a folder: modules, their averages, optimizers, each process's random numbers, and the history.

    Every process calls every method; only the main one writes. The two newest saves are kept, so that a run whose
    newest is damaged goes on from the one before. `made_of` names what the run is made of; a save of a run that is made
    of something else is set aside, like a damaged one, and the run starts anew.
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
        self.modules, self.optimizers = modules, optimizers
        self.made_of = {**made_of, "steps": str(steps), "processes": str(accelerator.num_processes)}
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"state: got {self.folder}, a file; expected a folder")

    def load(self) -> tuple[int, dict]:
        """Bring everything to where the newest save left it: the steps done and the history; 0 and {} without a save.

        What cannot be used is named in one line and set aside. Until a save is known to be whole, nothing changes.
        """
        chosen = on_main(self.accelerator, self._choose)
        if chosen is None:
            return 0, {}
        about, tensors = self._read(chosen)
        for i, module in enumerate(self.modules):
            prefix = f"module.{i}."
            module.load_state_dict({k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)})
        for i, optimizer in enumerate(self.optimizers):
            state = {}
            for j, p in enumerate(_parameters(optimizer)):
                if f"optimizer.{i}.{j}.step" in tensors:
                    step, *moments = (tensors[f"optimizer.{i}.{j}.{name}"] for name in MOMENTS)
                    # In the parameter's own memory layout, which fused optimizers take for granted.
                    own = [torch.empty_like(p).copy_(moment) for moment in moments]
                    state[j] = dict(zip(MOMENTS, [step, *own], strict=True))
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        rank = self.accelerator.process_index
        # Clones, because torch crashes when a generator's state is a row of a larger tensor.
        self.generator.set_state(tensors["random.generator"][rank].clone())
        torch.set_rng_state(tensors["random.cpu"][rank].clone())
        if "random.device" in tensors:
            _on(self.accelerator.device).set_rng_state(tensors["random.device"][rank].clone())
        self.accelerator.print(f"goes on from step {about['step']} of {self.steps}", flush=True)
        return about["step"], about["history"]

    def save(self, step: int, history: dict) -> None:
        """Keep the run as it is after so many steps.

        Raises FloatingPointError for values that are not finite, TrainingError if the folder cannot be written; what
        was kept before is kept on.
        """
        tensors = {**self._weights(), **self._random()}
        for name, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                raise FloatingPointError(f"training went wrong by step {step}: {name} is not finite")
        about = {"step": step, "made_of": self.made_of, "history": history}
        on_main(self.accelerator, lambda: self._write(step, sealed.pack(tensors, {"about": json.dumps(about)})))

    def _weights(self) -> dict[str, Tensor]:
        found = {f"module.{i}.{k}": v for i, module in enumerate(self.modules) for k, v in module.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, p in enumerate(_parameters(optimizer)):
                found |= {f"optimizer.{i}.{j}.{k}": v for k, v in optimizer.state.get(p, {}).items()}
        return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in found.items()}

    def _own_random(self) -> dict[str, Tensor]:
        own = {"random.generator": self.generator.get_state(), "random.cpu": torch.get_rng_state()}
        device = self.accelerator.device
        return own | ({"random.device": _on(device).get_rng_state()} if device.type in ("cuda", "mps") else {})

    def _random(self) -> dict[str, Tensor]:
        """The states of the random numbers, one row for each process."""
        gather, device = self.accelerator.gather, self.accelerator.device
        return {k: gather(v[None].to(device)).cpu() for k, v in self._own_random().items()}

    def _write(self, step: int, raw: bytes) -> None:
        try:
            files.replace({self.folder / f"{step}-of-{self.steps}.safetensors": raw})
        except OSError as error:
            kept = [done for done, _ in saves(self.folder)]
            raise TrainingError(
                f"step {step} could not be saved in {self.folder} ({files.why(error)}); "
                + (f"step {kept[-1]} is kept, and the same run goes on from it" if kept else "nothing is kept yet")
            ) from error
        for _, path in saves(self.folder)[:-KEPT]:
            path.unlink(missing_ok=True)

    def _choose(self) -> Path | None:
        """The newest save that is whole and of this run. What is newer is set aside, with a line for each."""
        for _, path in reversed(saves(self.folder)):
            try:
                self._read(path)
                return path
            except _Unfit as reason:
                print(f"{path} {reason}; it is set aside, as {self._set_aside(path).name}", flush=True)
        return None

    def _set_aside(self, path: Path) -> Path:
        earlier = sorted((p for p in self.folder.iterdir() if ASIDE.fullmatch(p.name)), key=lambda p: p.stat().st_mtime)
        for old in earlier[: 1 - SET_ASIDE]:
            old.unlink()
        used = {p.name for p in earlier}
        number = next(n for n in range(1, len(used) + 2) if f"{path.name}.aside-{n}" not in used)
        try:
            return path.rename(path.with_name(f"{path.name}.aside-{number}"))
        except OSError as error:
            raise TrainingError(
                f"{path} is of no use and cannot be set aside ({files.why(error)}); remove it"
            ) from error

    def _read(self, path: Path) -> tuple[dict, dict[str, Tensor]]:
        """What a save says of itself, and its tensors, which fit this run. Raises _Unfit."""
        try:
            raw = files.read(path)
        except OSError as error:
            raise _Unfit(f"cannot be read ({files.why(error)})") from error
        try:
            tensors = sealed.tensors(raw)
        except ValueError as error:
            raise _Unfit(f"is damaged: {error}") from error
        try:
            about = json.loads(sealed.words(raw)["about"])
            step, made_of, history = int(about["step"]), dict(about["made_of"]), dict(about["history"])
        except (ValueError, KeyError, TypeError) as error:
            raise _Unfit(f"is not the state of a run ({error})") from error
        for key in sorted(self.made_of.keys() | made_of.keys()):
            there, here = made_of.get(key, "none"), self.made_of.get(key, "none")
            if there != here:
                raise _Unfit(f"is of another run ({key}: {there} there, {here} here)")
        if path.name != f"{step}-of-{self.steps}.safetensors" or not 0 < step <= self.steps:
            raise _Unfit(f"is not what its name says (step {step} of {self.steps})")
        self._check(tensors)
        return {"step": step, "history": history}, tensors

    def _check(self, tensors: dict[str, Tensor]) -> None:
        expected = self._expected(tensors)
        for name in sorted(expected.keys() | tensors.keys()):
            if name not in tensors or name not in expected:
                how = "misses" if name in expected else "has a foreign"
                raise _Unfit(f"does not fit this run: it {how} {name}")
            value, shape = tensors[name], expected[name]
            if (value.shape, value.dtype) != shape:
                raise _Unfit(f"does not fit this run ({name}: {[*value.shape]} there, {[*shape[0]]} here)")
            if value.is_floating_point() and not value.isfinite().all():
                raise _Unfit(f"holds values that are not finite ({name})")

    def _expected(self, tensors: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
        """Shape and type by name. A parameter has all of its moments, or none while its part still rests."""
        expected = {
            f"module.{i}.{k}": (v.shape, v.dtype)
            for i, module in enumerate(self.modules)
            for k, v in module.state_dict().items()
        }
        for i, optimizer in enumerate(self.optimizers):
            for j, p in enumerate(_parameters(optimizer)):
                names = [f"optimizer.{i}.{j}.{moment}" for moment in MOMENTS]
                if any(name in tensors for name in names):
                    shapes = [(torch.Size(), torch.float32), *[(p.shape, p.dtype)] * 2]
                    expected |= dict(zip(names, shapes, strict=True))
        processes = self.accelerator.num_processes
        return expected | {k: (torch.Size([processes, *v.shape]), v.dtype) for k, v in self._own_random().items()}


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _on(device: torch.device):
    """torch's module for a device, which has its global random numbers."""
    return torch.cuda if device.type == "cuda" else torch.mps
