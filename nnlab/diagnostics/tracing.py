"""Running a function again with something about its inside held still.

A `TorchFunctionMode` sees every operation of PyTorch that Python code calls, inside a custom `autograd.Function` too. A first
run records them; a later run at another point can then hold a *winner* (which side of a kink, which entry of a maximum) or
cut an *edge* (what one operation gets in one argument) as they were at the first. Finite differences of such a run give
what the chain rule gives with that selection, or without that path, and no backward pass is asked.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

from nnlab.diagnostics.differences import Outputs

# Operations with a kink: their selection is linearised where the record was made, by their own forward derivative.
_PIECEWISE: Final = frozenset(
    [
        "relu",
        "relu_",
        "relu6",
        "leaky_relu",
        "leaky_relu_",
        "prelu",
        "rrelu",
        "abs",
        "abs_",
        "absolute",
        "__abs__",
        "clamp",
        "clamp_",
        "clamp_min",
        "clamp_max",
        "clip",
        "hardtanh",
        "hardtanh_",
        "hardsigmoid",
        "hardswish",
        "threshold",
        "elu",
        "elu_",
        "celu",
        "selu",
        "selu_",
        "softshrink",
        "hardshrink",
        "max",
        "min",
        "amax",
        "amin",
        "maximum",
        "minimum",
        "fmax",
        "fmin",
        "aminmax",
        "topk",
        "sort",
        "median",
        "_max_pool1d",
        "_max_pool2d",
        "_max_pool3d",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "l1_loss",
        "smooth_l1_loss",
        "huber_loss",
        "margin_ranking_loss",
        "hinge_embedding_loss",
        "multi_margin_loss",
        "multilabel_margin_loss",
        "triplet_margin_loss",
        "cosine_embedding_loss",
        "norm",
        "vector_norm",
        "cdist",
        "pairwise_distance",
        "dist",
    ]
)
# Operations whose result is a choice without a slope: their result is kept.
_CHOICES: Final = frozenset(
    [
        "gt",
        "lt",
        "ge",
        "le",
        "eq",
        "ne",
        "__gt__",
        "__lt__",
        "__ge__",
        "__le__",
        "__eq__",
        "__ne__",
        "sign",
        "sgn",
        "signbit",
        "argmax",
        "argmin",
        "argsort",
        "heaviside",
    ]
)


class Mismatch(Exception):
    """The function did other operations than when it was recorded."""


@dataclass(frozen=True)
class Call:
    """One operation of a recorded run: its name, its positional arguments and its result, as they were."""

    name: str
    args: tuple[object, ...]
    result: object


def _copied(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _is_bookkeeping(name: str) -> bool:
    """Attributes and questions about shape: no arithmetic goes through them."""
    return name in {"__get__", "__set__", "dim", "size", "numel", "is_floating_point", "is_complex", "stride"}


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        name = str(getattr(func, "__name__", func))
        before = tuple(_copied(arg) for arg in args)
        result = func(*args, **(kwargs or {}))
        if not _is_bookkeeping(name):
            self.calls.append(Call(name, before, _copied(result)))
        return result


class _Replay(TorchFunctionMode):
    """A later run of the same operations; `_act` does what is to be done to each."""

    def __init__(self, calls: list[Call]) -> None:
        super().__init__()
        self.calls = calls
        self.position = 0

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: object,
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        name = str(getattr(func, "__name__", func))
        if _is_bookkeeping(name):
            return func(*args, **(kwargs or {}))
        if self.position == len(self.calls) or self.calls[self.position].name != name:
            raise Mismatch(name)
        index, self.position = self.position, self.position + 1
        return self._act(index, self.calls[index], func, args, dict(kwargs or {}))

    def _act(
        self, index: int, call: Call, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        raise NotImplementedError


class _Frozen(_Replay):
    """Every kink stays on the side, and every maximum with the entry, that it had when recorded."""

    def _act(
        self, index: int, call: Call, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        if call.name in _CHOICES:
            return call.result
        if call.name not in _PIECEWISE:
            return func(*args, **kwargs)
        result = _linearised(func, call.args, args, kwargs)
        if isinstance(args[0], Tensor) and isinstance(result, Tensor) and _in_place(call.name, kwargs):
            return args[0].copy_(result)
        return result


def _in_place(name: str, kwargs: Mapping[str, object]) -> bool:
    return (name.endswith("_") and not name.endswith("__")) or bool(kwargs.get("inplace"))


def _linearised(
    func: Callable[..., object], then: tuple[object, ...], now: tuple[object, ...], kwargs: dict[str, object]
) -> object:
    """func(then) + its derivative there applied to (now - then): PyTorch's own choice at a kink, held."""
    plain = {key: value for key, value in kwargs.items() if key != "inplace"}
    with dual_numbers():
        duals = [
            forward_ad.make_dual(old.clone(), new - old)
            if isinstance(old, Tensor) and isinstance(new, Tensor) and old.is_floating_point()
            else old
            for old, new in zip(then, now, strict=True)
        ]
        return _moved(func(*duals, **plain))


@contextmanager
def dual_numbers() -> Iterator[None]:
    """A level of forward-mode differentiation.

    PyTorch scripts decompositions of its own at the process's first dual number, and warns itself of that.
    """
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _moved(value: object) -> object:
    if isinstance(value, tuple):
        parts = [_moved(part) for part in value]
        return type(value)(parts) if hasattr(value, "n_fields") else tuple(parts)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    primal, tangent = forward_ad.unpack_dual(value)
    return primal if tangent is None else primal + tangent


class _Cut(_Replay):
    """One argument of one operation stays what it was when recorded."""

    def __init__(self, calls: list[Call], edge: Edge) -> None:
        super().__init__(calls)
        self.edge = edge

    def _act(
        self, index: int, call: Call, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        if index == self.edge.call:
            held = call.args[self.edge.argument]
            args = (*args[: self.edge.argument], held, *args[self.edge.argument + 1 :])
        return func(*args, **kwargs)


@dataclass(frozen=True)
class Edge:
    """What operation number `call` gets as positional argument number `argument`.

    Attributes:
        operation: the operation's name.
    """

    call: int
    argument: int
    operation: str


def record(outputs: Outputs, point: Mapping[str, Tensor]) -> list[Call]:
    """The operations of a run at `point`, with what went in and came out."""
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        outputs(point)
    return recorder.calls


def has_kinks(calls: list[Call]) -> bool:
    """Whether any operation recorded has a kink or makes a choice."""
    return any(call.name in _PIECEWISE | _CHOICES for call in calls)


def edges(then: list[Call], now: list[Call]) -> list[Edge]:
    """The edges along which two recorded runs of the same operations differ, the first first.

    Raises:
        Mismatch: the runs did other operations.
    """
    if [call.name for call in then] != [call.name for call in now]:
        raise Mismatch("the operations depend on the values")
    return [
        Edge(index, position, old.name)
        for index, (old, new) in enumerate(zip(then, now, strict=True))
        for position, (a, b) in enumerate(zip(old.args, new.args, strict=False))
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and not torch.equal(a, b)
    ]


def frozen(outputs: Outputs, calls: list[Call]) -> Outputs:
    """The same outputs with every kink and maximum held as recorded; may raise Mismatch when called."""

    def held(point: Mapping[str, Tensor]) -> Tensor:
        with _Frozen(calls):
            return outputs(point)

    return held


def cut(outputs: Outputs, calls: list[Call], edge: Edge) -> Outputs:
    """The same outputs with one edge held as recorded; may raise Mismatch when called."""

    def held(point: Mapping[str, Tensor]) -> Tensor:
        with _Cut(calls, edge):
            return outputs(point)

    return held
