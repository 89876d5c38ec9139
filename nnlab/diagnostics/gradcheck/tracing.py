"""Running a function again with something about its inside held still.

A `TorchFunctionMode` sees every operation of PyTorch that Python code calls, inside a custom `autograd.Function` too. A first
run records them; a later run at another point can then cut an *edge* (what one operation gets in one argument), that is hold it
as it was at the first. Finite differences of such a run give the chain rule's sum without the paths through that edge, and no
backward pass is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from nnlab.diagnostics.gradcheck.differences import Outputs


class MismatchError(Exception):
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


class Replay(TorchFunctionMode):
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
            raise MismatchError(name)
        index, self.position = self.position, self.position + 1
        return self._act(index, self.calls[index], func, args, dict(kwargs or {}))

    def _act(
        self, index: int, call: Call, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> object:
        raise NotImplementedError


class _Cut(Replay):
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


def edges(then: list[Call], now: list[Call]) -> list[Edge]:
    """The edges along which two recorded runs of the same operations differ, the first first.

    Raises:
        MismatchError: the runs did other operations.
    """
    if [call.name for call in then] != [call.name for call in now]:
        raise MismatchError("the operations depend on the values")
    return [
        Edge(index, position, old.name)
        for index, (old, new) in enumerate(zip(then, now, strict=True))
        for position, (a, b) in enumerate(zip(old.args, new.args, strict=False))
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and not torch.equal(a, b)
    ]


def cut(outputs: Outputs, calls: list[Call], edge: Edge) -> Outputs:
    """The same outputs with one edge held as recorded; may raise MismatchError when called."""

    def held(point: Mapping[str, Tensor]) -> Tensor:
        with _Cut(calls, edge):
            return outputs(point)

    return held
