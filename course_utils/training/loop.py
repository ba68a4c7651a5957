"""One training loop for every model of the course.

A `Part` is a module with a loss of its own. Most recipes train one part; a GAN trains two that take turns.
`accelerate` picks the device and, under `accelerate launch`, spreads the same recipe over several processes:
each process draws its own batches, and gradients are averaged before each step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from course_utils.training.state import RunState

Loss = Callable[[torch.Generator], tuple[Tensor, dict[str, float | Tensor]]]
Progress = Callable[..., None]


@dataclass
class Part:
    """A module to train and how.

    `loss(generator)` draws a batch with the generator and returns a scalar and numbers to log. `ema` is the
    decay of the averaged weights, which replace the module's own at the end; 0 keeps none.
    `after_step()` runs after each update (CLIP clamps its scale there). Before step `start` the part rests while
    others learn (a decoder waits for its discriminator).
    """

    module: nn.Module
    loss: Loss
    lr: float = 1e-3
    ema: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    after_step: Callable[[], None] | None = None
    start: int = 0


@dataclass
class History:
    """What a run logged: `steps[i]` and, for each name, `values[name][i]`."""

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, step: int, logs: dict[str, float]) -> None:
        self.steps.append(step)
        for name, value in logs.items():
            self.values.setdefault(name, []).append(value)


def learning_rate(step: int, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to `peak`, then half a cosine down to zero at the last step (Loshchilov & Hutter 2017)."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def ema_decay(step: int, decay: float) -> float:
    """The averaging decay at a step: it grows towards `decay`, so that short runs don't average noise."""
    return min(decay, (1.0 + step) / (10.0 + step))


class Averaged:
    """Exponential moving average of a module's parameters; buffers follow the module."""

    def __init__(self, module: nn.Module, decay: float):
        self.decay, self.module = decay, copy.deepcopy(module).requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        mine, new = list(self.module.parameters()), list(module.parameters())
        torch._foreach_lerp_(mine, new, 1.0 - ema_decay(step, self.decay))
        for a, b in zip(self.module.buffers(), module.buffers(), strict=True):
            a.copy_(b)


def _optimizer(part: Part, device: torch.device) -> torch.optim.Optimizer:
    # Biases, norms and learned vectors are not decayed.
    params = [p for p in part.module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": part.weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=part.lr, betas=part.betas, fused=fused)


def fit(
    parts: Part | list[Part],
    *,
    steps: int,
    seed: int = 0,
    warmup: int | None = None,
    progress: Progress | None = None,
    preview: Callable[[], Tensor] | None = None,
    log_every: int = 10,
    state: str | Path | None = None,
    save_every: int = 200,
) -> History:
    """Train the parts, with one update of each per step, and leave averaged weights in modules that asked for them.

    `progress(step, steps, logs, preview)` is called every `log_every` steps and at the end. With `state`, a folder,
    the run is saved there every `save_every` steps, and a later call with the same arguments in as many processes goes
    on from it as if the run had never stopped. The folder is removed when the run is complete.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps: got {steps!r}; expected a whole number, 1 or more")
    parts = [parts] if isinstance(parts, Part) else parts
    accelerator = Accelerator()
    device = next(parts[0].module.parameters()).device
    warmup = max(1, min(100, steps // 10)) if warmup is None else warmup
    # Processes start from the same weights, which the seed has set, and draw different batches.
    generator = torch.Generator().manual_seed(seed + 1_000_003 * accelerator.process_index)
    optimizers = [_optimizer(part, device) for part in parts]
    averages = [Averaged(part.module, part.ema) if part.ema else None for part in parts]
    kept, first = None, 0
    if state:
        modules = [part.module for part in parts] + [average.module for average in averages if average]
        kept = RunState(state, accelerator, modules, optimizers, generator, steps)
        first = kept.load()
    history = History()
    for part in parts:
        part.module.train()

    for step in range(first, steps):
        logs: dict[str, float | Tensor] = {}
        for part, optimizer, average in zip(parts, optimizers, averages, strict=True):
            if step < part.start:
                continue
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, part.lr, warmup)
            with accelerator.autocast():
                loss, more = part.loss(generator)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if accelerator.num_processes > 1:
                for p in trained:
                    p.grad = accelerator.reduce(p.grad, "mean")
            torch.nn.utils.clip_grad_norm_(trained, part.clip)
            optimizer.step()
            if part.after_step:
                part.after_step()
            if average:
                average.update(part.module, step - part.start)
            logs |= more
        if (step + 1) % log_every == 0 or step + 1 == steps:
            numbers = {k: float(v) for k, v in logs.items()}
            if not all(math.isfinite(v) for v in numbers.values()):
                raise FloatingPointError(f"training went wrong at step {step + 1}: {numbers}")
            history.add(step + 1, numbers)
            if progress and accelerator.is_main_process:
                progress(step + 1, steps, numbers, preview=preview)
        if kept and (step + 1) % save_every == 0 and step + 1 < steps:
            kept.save(step + 1)

    for part, average in zip(parts, averages, strict=True):
        if average:
            part.module.load_state_dict(average.module.state_dict())
        part.module.eval()
    if kept:
        kept.remove()
    return history
