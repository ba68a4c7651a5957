"""An interrupted run on disk. `accelerate` saves and loads it; here is what belongs to it and when it is complete."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

COMPLETE = re.compile(r"(\d+)-of-(\d+)")  # steps done, steps in all


class _Kept(nn.Module):
    """What a run needs to go on beside its optimizers, as one module, because modules are kept as safetensors.

    An object that is registered with accelerate by itself would be pickled, and accelerate loads such pickles without
    asking what they run. It also keeps them for the main process only.
    """

    def __init__(self, modules: Sequence[nn.Module], generator: torch.Generator, processes: int):
        super().__init__()
        self.kept = nn.ModuleList(modules)
        self.register_buffer("generators", generator.get_state().repeat(processes, 1))


class RunState:
    """A run's state in a folder: modules, their averages, optimizers, and each process's own random numbers.

    Each save is a subfolder that takes its name, `STEP-of-STEPS`, when it is complete; only then are earlier ones
    removed. A process that is killed while it saves therefore leaves the previous state.
    """

    def __init__(
        self,
        folder: str | Path,
        accelerator: Accelerator,
        modules: Sequence[nn.Module],
        optimizers: Sequence[torch.optim.Optimizer],
        generator: torch.Generator,
        steps: int,
    ):
        self.folder, self.accelerator, self.generator, self.steps = Path(folder), accelerator, generator, steps
        if self.folder.is_file():
            raise ValueError(f"state: got {self.folder}, a file; expected a folder")
        self.kept = _Kept(modules, generator, accelerator.num_processes)
        # Prepared for evaluation, a module is registered and nothing else: `fit` averages gradients itself.
        accelerator.prepare_model(self.kept, device_placement=False, evaluation_mode=True)
        for optimizer in optimizers:
            accelerator.prepare_optimizer(optimizer, device_placement=False)

    def _complete(self) -> list[tuple[int, int, Path]]:
        """(steps done, steps in all, subfolder) of every complete save, the newest last."""
        if not self.folder.is_dir():
            return []
        named = ((COMPLETE.fullmatch(path.name), path) for path in self.folder.iterdir())
        return sorted((int(name[1]), int(name[2]), path) for name, path in named if name)

    def load(self) -> int:
        """Bring everything to where the newest save left it; returns the steps done, 0 without a save."""
        saved = self._complete()
        if not saved:
            return 0
        step, steps, path = saved[-1]
        if steps != self.steps:
            raise ValueError(
                f"state: got {self.folder}, of a run of {steps} steps; expected one of {self.steps}. "
                "Delete the folder to start anew"
            )
        try:
            self.accelerator.load_state(str(path))
        except Exception as error:  # torch, safetensors and the file system have an error each for every way to fail
            raise ValueError(
                f"state: got {self.folder}, which does not fit this run ({error}); expected the state of a run with "
                "the same models and the same number of processes. Delete the folder to start anew"
            ) from error
        # A copy, because torch crashes when a generator's state is a row of a larger tensor.
        self.generator.set_state(self.kept.generators[self.accelerator.process_index].clone())
        return step

    def save(self, step: int) -> None:
        """Keep the run as it is after so many steps, in place of what was kept before. Every process must call this."""
        own = self.generator.get_state()[None].to(self.accelerator.device)
        self.kept.generators.copy_(self.accelerator.gather(own))
        partial = self.folder / "partial"
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(partial))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            earlier = self._complete()
            partial.rename(self.folder / f"{step}-of-{self.steps}")
            for *_, path in earlier:
                shutil.rmtree(path)

    def remove(self) -> None:
        """Remove what this run has kept, and the folder if nothing else lies in it."""
        if self.accelerator.is_main_process and self.folder.is_dir():
            for path in [self.folder / "partial", *(path for *_, path in self._complete())]:
                shutil.rmtree(path, ignore_errors=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()
        self.accelerator.wait_for_everyone()  # a next run must not find what the main process is about to remove
