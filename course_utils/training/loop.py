"""One training loop for every model of the course.

A `Part` is a module with a loss of its own. Most recipes train one part; a GAN trains two that take turns.
`accelerate` picks the device and, under `accelerate launch`, spreads the same recipe over several processes:
each process draws its own batches, and gradients are averaged before each step.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from course_utils.training.processes import processes
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

    def settings(self) -> str:
        """Everything that two runs must have in common, beside their modules' shapes, to be one."""
        return f"lr {self.lr}, ema {self.ema}, betas {self.betas}, decay {self.weight_decay}, clip {self.clip}, start {self.start}"


@dataclass
class History:
    """What a run logged: `steps[i]` and, for each name, `values[name][i]`.

    `stopped` is the step at which an interrupt ended the run, None if it is complete.
    """

    steps: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    stopped: int | None = None

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


# The step at which each module's last run was stopped, for those that were.
_stopped: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


def _whole(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name}: got {value!r}; expected a whole number, {least} or more")


def _check(parts: list[Part], steps: int, seed: int, warmup: int | None, log_every: int, save_every: int) -> None:
    """Raises ValueError or TypeError that names the argument, before anything is trained."""
    for name, value in (("steps", steps), ("log_every", log_every), ("save_every", save_every)):
        _whole(name, value, 1)
    _whole("seed", seed, 0)
    if warmup is not None:
        _whole("warmup", warmup, 0)
    if not parts:
        raise ValueError("parts: got none; expected a Part or a list of them")
    for part in parts:
        if not isinstance(part, Part):
            raise TypeError(f"parts: got a {type(part).__name__}; expected a Part or a list of them")
        if not any(p.requires_grad for p in part.module.parameters()):
            raise ValueError(f"module: got a {type(part.module).__name__} without weights to train; see requires_grad_")
        if not (0 < part.lr < math.inf and 0 <= part.ema < 1):
            raise ValueError(f"part: got lr {part.lr} and ema {part.ema}; expected lr above 0 and ema in [0, 1)")


def _answer(value: object) -> tuple[Tensor, dict[str, float | Tensor]]:
    """What a loss returned, if it can be trained on."""
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)):
        raise TypeError(
            f"loss: returned a {type(value).__name__}; expected a pair: a scalar tensor and a dict of numbers"
        )
    loss, logs = value
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise TypeError(f"loss: returned {what}; expected a scalar tensor, such as a mean")
    if not loss.requires_grad:
        raise ValueError("loss: returned a tensor without a gradient; compute it from the module, not under no_grad")
    return loss, logs


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
    made_of: Mapping[str, str] | None = None,
) -> History:
    """Train the parts, with one update of each per step, and leave averaged weights in modules that asked for them.

    `progress(step, steps, logs, preview)` is called every `log_every` steps and at the end. An interrupt (Stop in a
    notebook) ends the run where it is, after one step at least: what was learnt is in the modules, and the history so
    far is returned, with `stopped` set.

    With `state`, a folder, the run is saved there every `save_every` steps and at the end, and a later call with the same
    arguments in as many processes goes on from it as if the run had never stopped; so an interrupt is raised on. The
    folder stays until the caller removes it (`state.remove`), because only the caller knows when the result is safe.
    `made_of` names what the run is made of (the models that it builds on, by digest): a state of another is set aside.

    Raises FloatingPointError, with the step, as soon as a gradient, a logged number or a weight is not finite; what was
    saved before stays.
    """
    parts = parts if isinstance(parts, list) else [parts]
    _check(parts, steps, seed, warmup, log_every, save_every)
    accelerator = processes()
    device = next(parts[0].module.parameters()).device
    warmup = max(1, min(100, steps // 10)) if warmup is None else warmup
    # Processes start from the same weights, which the seed has set, and draw different batches.
    generator = torch.Generator().manual_seed(seed + 1_000_003 * accelerator.process_index)
    optimizers = [_optimizer(part, device) for part in parts]
    averages = [Averaged(part.module, part.ema) if part.ema else None for part in parts]
    done, history, kept = 0, History(), None
    if state:
        modules = [part.module for part in parts] + [average.module for average in averages if average]
        settings = {f"part {i}": part.settings() for i, part in enumerate(parts)}
        own = {**(made_of or {}), **settings, "seed": str(seed), "warmup": str(warmup)}
        kept = RunState(state, accelerator, modules, optimizers, generator, steps, own)
        done, earlier = kept.load()
        history = History(**earlier)
    for part in parts:
        part.module.train()
        if at := _stopped.pop(part.module, None):
            accelerator.print(
                f"goes on with weights of a run that was stopped at step {at}; build the model to start anew"
            )

    def advance(step: int) -> dict[str, float | Tensor]:
        """One update of every part."""
        logs: dict[str, float | Tensor] = {}
        for part, optimizer, average in zip(parts, optimizers, averages, strict=True):
            if step < part.start:
                continue
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, steps, part.lr, warmup)
            with accelerator.autocast():
                loss, more = _answer(part.loss(generator))
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            trained = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            if accelerator.num_processes > 1:
                for p in trained:
                    p.grad = accelerator.reduce(p.grad, "mean")
            norm = torch.nn.utils.clip_grad_norm_(trained, part.clip)
            if not math.isfinite(norm):  # before it reaches a weight
                raise FloatingPointError(
                    f"training went wrong at step {step + 1}: the gradient's norm is {float(norm)}"
                )
            optimizer.step()
            if part.after_step:
                part.after_step()
            if average:
                average.update(part.module, step - part.start)
            logs |= more
        return logs

    def report(step: int, logs: dict[str, float | Tensor]) -> None:
        numbers = {k: float(v) for k, v in logs.items()}
        if not all(math.isfinite(v) for v in numbers.values()):
            raise FloatingPointError(f"training went wrong at step {step}: {numbers}")
        history.add(step, numbers)
        if progress and accelerator.is_main_process:
            progress(step, steps, numbers, preview=preview)

    logs: dict[str, float | Tensor] = {}
    try:
        while done < steps:
            logs = advance(done)
            done += 1
            if done % log_every == 0 or done == steps:
                report(done, logs)
            if kept and (done % save_every == 0 or done == steps):
                kept.save(done, vars(history))
    except KeyboardInterrupt:
        if kept:
            raise
        # A history without a single step would be of no use to what comes after.
        if done == 0:
            logs, done = advance(0), 1
        if history.steps[-1:] != [done]:
            report(done, logs)
        history.stopped = done if done < steps else None
        if close := getattr(progress, "close", None):
            close()
        elif history.stopped:
            print(f"stopped at step {done} of {steps}", flush=True)

    for part, average in zip(parts, averages, strict=True):
        if average:
            part.module.load_state_dict(average.module.state_dict())
        part.module.eval()
        if not all(v.isfinite().all() for v in part.module.state_dict().values()):
            raise FloatingPointError(f"training went wrong by step {done}: weights are not finite")
        if history.stopped:
            _stopped[part.module] = done
    return history
