"""What may stand where a student's function is expected, and what such a function may return or raise."""

from __future__ import annotations

import asyncio
import functools
import itertools
import types
import warnings
from unittest.mock import MagicMock

import numpy as np
import torch


class Hostile:
    """Everything that one may ask of it raises."""

    def _refuse(self, *args, **kwargs):
        raise RuntimeError("ask me nothing")

    __eq__ = __ne__ = __bool__ = __repr__ = __str__ = __len__ = __iter__ = __getitem__ = __float__ = __int__ = _refuse
    __index__ = __hash__ = __getattr__ = __array__ = __add__ = __radd__ = __rmul__ = __format__ = __torch_function__ = (
        _refuse
    )
    __class__ = property(_refuse)


class HostileTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise RuntimeError("no operation on me")


class HostileMeta(type):
    __eq__ = __hash__ = __instancecheck__ = __getattr__ = Hostile._refuse
    __name__ = property(Hostile._refuse)


class OfHostileType(metaclass=HostileMeta):
    pass


class HostileList(list):
    __len__ = __iter__ = __getitem__ = __eq__ = Hostile._refuse


class HostileStr(str):
    __eq__ = __hash__ = __len__ = __repr__ = Hostile._refuse


class HostileNumber(float):
    __float__ = __eq__ = __mul__ = __repr__ = Hostile._refuse


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class CalledHostile:
    def __call__(self, *inputs, **by_name):
        raise Unspeakable

    __getattr__ = Hostile._refuse


def generator(*inputs, **by_name):
    yield from itertools.count()


async def coroutine(*inputs, **by_name):
    return inputs[0]


def recursive(*inputs, **by_name):
    return recursive(*inputs, **by_name)


def first_tensor(inputs):
    return next((x for x in inputs if isinstance(x, torch.Tensor)), torch.zeros(2))


def spoils_everything(*inputs, **by_name):
    for x in inputs:
        if isinstance(x, torch.Tensor):
            x.resize_(0) if not x.requires_grad else x.data.fill_(0)
        if isinstance(x, list):
            x[:] = [Hostile()]
    return first_tensor(inputs)


def switches_everything(*inputs, **by_name):
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(1)
    return first_tensor(inputs)


def raises(error):
    def function(*inputs, **by_name):
        raise error

    return function


def gives(make):
    """A function whose answer is made of its inputs."""
    return lambda *inputs, **by_name: make(inputs)


def always(thing):
    return lambda *inputs, **by_name: thing


def quietly(make):
    """Torch warns of these kinds of tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


INSTEAD_OF_A_FUNCTION = {
    "None": None,
    "a float": 3.0,
    "an int": 7,
    "a string": "u + w * (c - u)",
    "a list": [lambda u: u],
    "a dict": {"a": 1},
    "a tensor": torch.ones(3),
    "an array": np.ones(3),
    "a module": torch.nn.Linear(3, 3),
    "a Python module": torch,
    "a class": Hostile,
    "int itself": int,
    "a hostile object": Hostile(),
    "of a hostile type": OfHostileType(),
    "a hostile callable": CalledHostile(),
    "a partial": functools.partial(torch.sub, alpha=2),
    "a builtin": len,
    "torch's own": torch.relu,
    "a method": "".join,
    "a property": property(lambda self: 0),
    "a static method": staticmethod(len),
    "a mock": MagicMock(),
    "a generator": generator(),
    "a generator function": generator,
    "a coroutine function": coroutine,
    "no arguments": lambda: 0,
    "too many arguments": lambda a, b, c, d, e, f, g, h: a,
    "only keywords": lambda *, a, b: a,
    "Ellipsis": ...,
}
RETURNED = {
    "a float": always(3.5),
    "an int": always(3),
    "a huge int": always(10**5000),
    "a bool": always(True),
    "NaN": always(float("nan")),
    "infinity": always(float("inf")),
    "a complex number": always(1j),
    "a string": always("0.5"),
    "a lone surrogate": always(["\ud800"]),
    "bytes": always(b"0.5"),
    "a list of floats": always([1.0, 2.0]),
    "a list that holds itself": always((lambda a: (a.append(a), a)[1])([])),
    "a list of hostiles": always([Hostile()]),
    "a list of hostile strings": always([HostileStr("a")]),
    "a hostile list": always(HostileList(["a"])),
    "a long list": always(["a"] * 1_000_000),
    "an empty list": always([]),
    "a tuple": gives(tuple),
    "an empty tuple": always(()),
    "a dict": always({"answer": 1}),
    "a set": always({1}),
    "a range": always(range(10**12)),
    "an infinite iterator": always(itertools.count()),
    "a function": always(len),
    "a class": always(Hostile),
    "a Python module": always(types),
    "NotImplemented": always(NotImplemented),
    "an exception": always(ValueError("returned")),
    "a hostile object": always(Hostile()),
    "of a hostile type": always(OfHostileType()),
    "a hostile number": always(HostileNumber(1.0)),
    "a hostile tensor": always(torch.ones(2).as_subclass(HostileTensor)),
    "a mock": always(MagicMock()),
    "an array": always(np.ones(3)),
    "an array of objects": always(np.array([Hostile], dtype=object)),
    "its inputs as arrays": gives(lambda inputs: first_tensor(inputs).detach().numpy()),
    "NumPy's number": always(np.float32(1.5)),
    "NumPy's bool": always(np.bool_(True)),
    "nothing but zeros": gives(lambda inputs: torch.zeros_like(first_tensor(inputs))),
    "a scalar tensor": always(torch.tensor(-123.0)),
    "an empty tensor": always(torch.empty(0)),
    "a tensor of no rows": always(torch.empty(0, 3, 4)),
    "seven axes": always(torch.ones(1, 1, 1, 1, 1, 1, 1)),
    "NaN everywhere": gives(lambda inputs: torch.full_like(first_tensor(inputs).float(), torch.nan)),
    "infinite everywhere": gives(lambda inputs: torch.full_like(first_tensor(inputs).float(), torch.inf)),
    "complex": gives(lambda inputs: first_tensor(inputs) + 1j),
    "sparse": gives(lambda inputs: first_tensor(inputs).detach().float().to_sparse()),
    "nested": always(quietly(lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]))),
    "quantized": always(quietly(lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8))),
    "half": gives(lambda inputs: first_tensor(inputs).half()),
    "bool": gives(lambda inputs: first_tensor(inputs) > 0),
    "integers": gives(lambda inputs: first_tensor(inputs).long() + 100),
    "on another device": gives(lambda inputs: first_tensor(inputs).detach().to("meta")),
    "a parameter": always(torch.nn.Parameter(torch.ones(2))),
    "expanded without end": always(torch.ones(1).expand(10**15)),
    "inference": gives(lambda inputs: torch.inference_mode()(torch.ones_like)(first_tensor(inputs)) * 7),
}
RAISED = {
    "an exit": raises(SystemExit(3)),
    "a generator's exit": raises(GeneratorExit()),
    "a cancelled task": raises(asyncio.CancelledError()),
    "a bare BaseException": raises(BaseException("base")),
    "an end of iteration": raises(StopIteration()),
    "no memory": lambda *inputs, **by_name: [0] * 10**17,
    "no memory for a tensor": lambda *inputs, **by_name: torch.zeros(10**17),
    "recursion": recursive,
    "an exception without words": raises(Unspeakable()),
    "an exception of 100,000 letters": raises(ValueError("a" * 100_000)),
    "an exception with strange letters": raises(ValueError("\ud800\x00\x1b[31m\u202e")),
    "an error of syntax": lambda *inputs, **by_name: eval("1 +"),
    "an import": lambda *inputs, **by_name: __import__("no_such_module_here"),
    "spoilt inputs": spoils_everything,
    "switched torch": switches_everything,
}
ODD = {
    f"{where} {name}": thing
    for where, table in (("instead:", INSTEAD_OF_A_FUNCTION), ("returns", RETURNED), ("raises", RAISED))
    for name, thing in table.items()
}
