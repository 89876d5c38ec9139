"""A function run again with one of its inner values held fixed.

A `TorchFunctionMode` sees every PyTorch operation that Python code calls, inside a custom `autograd.Function` too. A first run
records the operations. A later run at another point can then cut an *edge* (one argument of one operation): the operation gets
the argument's recorded value instead. Finite differences of such runs give the chain rule's sum without the paths through that
edge, and need no backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nnlab.diagnostics.gradcheck.differences import OutputFunction


class MismatchError(Exception):
    """The function called other operations than in the recorded run."""


@dataclass(frozen=True)
class Call:
    """One operation of a recorded run: its name, and copies of its positional arguments and its result."""

    name: str
    args: tuple[object, ...]
    result: object


def _copy(value: object) -> object:
    return value.detach().clone() if isinstance(value, Tensor) else value


def _is_bookkeeping(name: str) -> bool:
    """True for attributes and queries of shape and type: no arithmetic goes through them."""
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
        before = tuple(_copy(arg) for arg in args)
        result = func(*args, **(kwargs or {}))
        if not _is_bookkeeping(name):
            self.calls.append(Call(name, before, _copy(result)))
        return result


class Replay(TorchFunctionMode):
    """A later run of the recorded operations; `_act` computes the result of each."""

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
            raise MismatchError(name)
        index, self.position = self.position, self.position + 1
        return self._act(index, self.calls[index], func, args, dict(kwargs or {}))

    def _act(
        self, index: int, call: Call, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        raise NotImplementedError


class _EdgeCut(Replay):
    """A run in which one argument of one operation has its recorded value."""

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
    """One argument of one operation.

    Attributes:
        call: the operation's number in the run.
        argument: the number of the positional argument.
        operation: the operation's name.
    """

    call: int
    argument: int
    operation: str


def record(outputs: OutputFunction, point: Mapping[str, Tensor]) -> list[Call]:
    """Record the operations of a run at `point`, with their arguments and results."""
    recorder = _Recorder()
    with torch.no_grad(), recorder:
        outputs(point)
    return recorder.calls


def edges(then: list[Call], now: list[Call]) -> list[Edge]:
    """The edges whose values differ between two recorded runs of the same operations, in the order of the run.

    Raises:
        MismatchError: the operations of the two runs differ.
    """
    if [call.name for call in then] != [call.name for call in now]:
        raise MismatchError("the operations depend on the values")
    return [
        Edge(index, position, old.name)
        for index, (old, new) in enumerate(zip(then, now, strict=True))
        for position, (a, b) in enumerate(zip(old.args, new.args, strict=False))
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and not torch.equal(a, b)
    ]


def cut_edge(outputs: OutputFunction, calls: list[Call], edge: Edge) -> OutputFunction:
    """The same outputs with one edge held at its recorded value; a call may raise MismatchError."""

    def outputs_without_edge(point: Mapping[str, Tensor]) -> Tensor:
        with _EdgeCut(calls, edge):
            return outputs(point)

    return outputs_without_edge
