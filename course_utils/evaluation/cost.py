"""What one denoising step costs, in pixels and in latents (notebook 01) or guided (07): work, time and memory.

The denoiser is the course's own transformer. The work is counted by torch's FLOP counter on tensors without data, so
counting is instant; time and memory are measured.
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from course_utils import runtime
from course_utils.models.denoiser import Denoiser, DenoiserConfig


@dataclass(frozen=True)
class StepCost:
    """One forward for one picture.

    `flops`: operations, of which a multiply-add is two; `seconds`: the best of a few; `saved`: bytes that a training
    step keeps between forward and backward, without the weights.
    """

    tokens: int
    flops: int
    seconds: float
    saved: int


def denoiser_on(channels: int, side: int, patch: int = 2, width: int = 64, depth: int = 2) -> Denoiser:
    """A small denoiser for inputs (channels, side, side), cut into patches of patch × patch."""
    if side % patch:
        raise ValueError(f"side: got {side}; expected a multiple of the patch, {patch}")
    heads = max(1, width // 64)
    return Denoiser(DenoiserConfig(width, depth, heads, patch, channels, side))


def _inputs(model: Denoiser, on: str) -> tuple[torch.Tensor, ...]:
    c = model.config
    z = torch.zeros(1, c.channels, c.side, c.side, device=on)
    return z, torch.full((1,), 0.5, device=on), torch.zeros(1, c.condition, device=on)


def flops(model: Denoiser) -> int:
    """Operations of one forward for one picture: matrix products and attention; a multiply-add is two."""
    with torch.device("meta"):
        shadow = Denoiser(model.config)
    with torch.no_grad():
        return operations(lambda: shadow(*_inputs(shadow, "meta")))


def operations(run: Callable[[], object]) -> int:
    """Operations of what `run` does: matrix products, convolutions and attention; a multiply-add is two."""
    # The counter knows the plain form of attention on every version of torch; the fused forms do the same products.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()
    return counter.get_total_flops()


def saved_bytes(model: Denoiser) -> int:
    """Bytes that autograd keeps for the backward pass of one picture, the model's own weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # The result is held until all is counted: memory that is freed may be given out again.
        result = model(*_inputs(model, str(next(model.parameters()).device)))
    total = sum(kept.values())
    del result
    return total


def _timed(function: Callable[[], object], repeats: int, on: torch.device) -> list[float]:
    """Wall times of `repeats` calls, in order of size, after one to warm up."""
    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        runtime.synchronize(on)
        taken.append(time.perf_counter() - start)
    return sorted(taken[1:])


@torch.inference_mode()
def seconds(model: Denoiser, repeats: int = 3) -> float:
    """Wall time of one forward for one picture, the best of `repeats` after one to warm up."""
    on = next(model.parameters()).device
    inputs = _inputs(model, str(on))
    return _timed(lambda: model(*inputs), repeats, on)[0]


def median_seconds(function: Callable[[], object], repeats: int = 7) -> float:
    """Wall time of a call, the median of `repeats` after one to warm up."""
    return _timed(function, repeats, runtime.device())[repeats // 2]


def seconds_in_turn(functions: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Wall times of calls to compare, each the median of `rounds`: taken in turn, so that a busy moment meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            taken[name].append(median_seconds(function, repeats=1))
    return {name: sorted(times)[rounds // 2] for name, times in taken.items()}


class _Live(TorchDispatchMode):
    """Watches every operation: how many bytes the results that are still alive take, and the most so far."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # Weights and inputs were there before, and views of them take nothing.
        self.known |= {id(x.untyped_storage()) for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        result = function(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and id(x.untyped_storage()) not in self.known:
                self._born(x.untyped_storage())
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self.known.add(id(storage))
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, id(storage), size)

    def _gone(self, number: int, size: int) -> None:
        self.known.discard(number)
        self.now -= size


def peak_bytes(function: Callable[[], object]) -> int:
    """The most memory that tensors made during a call take at one moment, in bytes. Weights were there before.

    The results of operations are counted, on every device alike; what an operation needs only while it runs is not.
    """
    with _Live() as live:
        function()
    return live.most


def step_cost(model: Denoiser, repeats: int = 3) -> StepCost:
    """All three measures of one denoising step."""
    c = model.config
    return StepCost((c.side // c.patch) ** 2, flops(model), seconds(model, repeats), saved_bytes(model))


def slope(x, y) -> float:
    """The exponent a of the best power law y ∝ xᵃ: the slope of a straight line through the logarithms."""
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.shape != y.shape or x.size < 2 or (x <= 0).any() or (y <= 0).any():
        raise ValueError(f"x, y: got {x.tolist()} and {y.tolist()}; expected two or more positive numbers each")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
