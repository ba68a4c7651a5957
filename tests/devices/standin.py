"""A device that behaves as Apple's GPUs do where that stops programs, on any machine.

`use()` registers "standin:0" on torch's PrivateUse1 key. Its tensors are wrappers around tensors on the CPU, whose
kernels do the work, but it is strict: a tensor on the CPU (other than a single number) in one operation with one on
the device is an error, and so is anything in float64. Code that runs here moves its tensors as a GPU wants it.
"""

from __future__ import annotations

from functools import cache

import torch

NAME = "standin"
CPU = torch.device("cpu")


class OnDevice(torch.Tensor):
    """A tensor of the device; `inside` is where its numbers lie."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inside: torch.Tensor) -> OnDevice:
        if inside.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"{NAME} tensors have no {inside.dtype}: Apple's GPUs know no float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            inside.size(),
            strides=inside.stride(),
            storage_offset=inside.storage_offset(),
            dtype=inside.dtype,
            device=torch.device(NAME, 0),
        )
        made.inside = inside.detach()
        return made

    def tolist(self) -> list:  # torch's own refuses every wrapper
        return self.inside.tolist()

    def untyped_storage(self) -> torch.UntypedStorage:  # a wrapper's own has no address
        return self.inside.untyped_storage()

    def __repr__(self, **_) -> str:
        return f"{self.inside!r} on {NAME}"

    def __format__(self, form: str) -> str:
        return format(self.inside, form)

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _on_cpu(operation, *args, **(kwargs or {}))


MOVES = ("aten::_to_copy", "aten::copy_", "aten::_copy_from", "aten::_copy_from_and_resize")


@cache
def _mixes(operation) -> bool:
    """Whether an operation may take tensors from both sides: it moves them, or takes an index from the CPU."""
    name = operation.name().split(".")[0]
    return name in MOVES or name.startswith("aten::index")


class _Unwrapping:
    """Takes wrappers off arguments, and remembers what it saw. Torch's own trees would take most of the time."""

    __slots__ = ("goal", "strangers", "wrapper_of")

    def __init__(self):
        self.wrapper_of: dict[int, OnDevice] = {}
        self.strangers: list[tuple[int, ...]] = []
        self.goal: torch.device | None = None

    def __call__(self, x):
        if isinstance(x, OnDevice):
            self.wrapper_of[id(x.inside)] = x
            return x.inside
        if isinstance(x, torch.Tensor):
            if x.ndim:
                self.strangers.append(tuple(x.shape))
        elif isinstance(x, list | tuple):
            return type(x)([self(one) for one in x])
        elif isinstance(x, torch.device):
            self.goal = self.goal or x
            return CPU
        return x


def _on_cpu(operation, *args, **kwargs):
    """Any operation on the device, done by the CPU's kernel on what the wrappers hold."""
    unwrap = _Unwrapping()
    args = [unwrap(x) for x in args]
    kwargs = {name: unwrap(x) for name, x in kwargs.items()}
    ours = unwrap.wrapper_of
    if ours and unwrap.strangers and not _mixes(operation):
        name, shapes = operation.name(), unwrap.strangers
        raise RuntimeError(f"{name}: expected all tensors on one device, got {shapes} on the CPU beside {NAME}'s")
    stays = unwrap.goal.type == NAME if unwrap.goal else bool(ours)

    def compute():
        result = operation(*args, **kwargs)
        return _wrapped(result, ours) if stays else result

    if torch.is_inference_mode_enabled():
        # Tensors made in inference mode would not let themselves be viewed through a wrapper.
        with torch.inference_mode(False), torch.no_grad():
            return compute()
    return compute()


def _wrapped(x, wrapper_of: dict[int, OnDevice]):
    if isinstance(x, torch.Tensor):
        found = wrapper_of.get(id(x))  # what an operation in place returns is what it was given
        return OnDevice(x) if found is None else found
    return type(x)([_wrapped(one, wrapper_of) for one in x]) if isinstance(x, list | tuple) else x


# Torch makes the first five of an empty tensor that is resized afterwards, which a wrapper would not see. The last
# is asked for from within torch (a list as an index), where the fallback is out of reach.
FACTORIES = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "_to_copy")
_libraries: list[torch.library.Library] = []


def _factory(name: str):
    operation = getattr(torch.ops.aten, name.split(".")[0])
    operation = getattr(operation, name.split(".")[1] if "." in name else "default")
    return lambda *args, **kwargs: _on_cpu(operation, *args, **kwargs)


class Module(torch.utils.backend_registration._DummyBackendModule):
    """What torch asks of a device as a whole: here it has no random state of its own."""

    def get_rng_state(self, device=None) -> torch.Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device=None) -> None:
        pass


def use() -> torch.device:
    """Register the device, once per process. Needs a torch that lets Python be a backend (2.10 or newer)."""
    if not _libraries:
        torch.utils.backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Module())
        everything, factories = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        everything.fallback(_on_cpu, "PrivateUse1")
        for name in FACTORIES:
            factories.impl(name, _factory(name), "PrivateUse1")
        _libraries.extend((everything, factories))
    return torch.device(NAME, 0)
