"""Recurrent networks: a layer that reads a row as a series, step after step, and the models made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.networks.layers import Dropout, Layer, Layers, Linear, Parameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnlab.core.kinds import Count, Flag, Fraction, Word
    from nnlab.core.spec import Spec

Kind: TypeAlias = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]
Read: TypeAlias = Literal["all", "last"]

# Blocks of `hidden` rows in each weight: the gates, in PyTorch's order.
GATES: Final[Mapping[Kind, int]] = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
# Numbers that one unit keeps of one step: its gates, what they are made of, and its states.
_KEPT: Final[Mapping[Kind, int]] = {"rnn_tanh": 2, "rnn_relu": 2, "gru": 5, "lstm": 7}


@dataclass(frozen=True)
class Recurrent(Layer):
    """One layer of PyTorch's nn.RNN, nn.GRU or nn.LSTM, started at zeros.

    A row in is `steps` steps of `inputs` numbers. Out come the states of every step, one step after the other and in each those
    of both directions, [steps, directions * hidden]; or the last states alone, [directions * hidden].

    Attributes:
        inputs: numbers a step.
        hidden: units of the state.
        steps: length of the series.
        bidirectional: a second one reads it from its end.
        read: the states that are handed on; the last one of the second direction is that at the series' beginning.
        channels_first: a row in holds one channel's steps after the other's; else one step's channels after the other's.
    """

    kind: Kind
    inputs: int
    hidden: int
    steps: int
    bidirectional: bool = False
    read: Read = "all"
    channels_first: bool = True

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def outputs(self) -> int:
        """Numbers that a row becomes."""
        return (self.steps if self.read == "all" else 1) * self.directions * self.hidden

    @property
    def units(self) -> int:
        step = _KEPT[self.kind] * self.hidden + self.inputs
        return self.steps * self.directions * step + self.outputs

    def parameters(self, name: str) -> Iterator[Parameter]:
        bound = 1.0 / math.sqrt(self.hidden)
        rows = GATES[self.kind] * self.hidden
        into, between = (rows, self.inputs), (rows, self.hidden)
        for end in ("", "_reverse")[: self.directions]:
            yield Parameter(f"{name}.weight_ih_l0{end}", into, "weight", into, bound)
            yield Parameter(f"{name}.weight_hh_l0{end}", between, "weight", between, bound)
            yield Parameter(f"{name}.bias_ih_l0{end}", (rows,), "bias", into, bound)
            yield Parameter(f"{name}.bias_hh_l0{end}", (rows,), "bias", between, bound)


class Wanted(NamedTuple):
    """The keys that all recurrent models share."""

    hidden: int
    layers: int
    bidirectional: bool
    read: str
    dropout: float


def rnn(
    row: tuple[int, ...],
    outputs: int,
    activation: Spec,  # noqa: ARG001
    *,
    hidden: Count = 32,
    layers: Count = 1,
    bidirectional: Flag = False,
    read: Word = "all",
    dropout: Fraction = 0.0,
    nonlinearity: Word = "tanh",
) -> Layers:
    """A state fed back: h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh); scores = W h + b of all steps' states, or of the last.

    Args:
        hidden: units of the state.
        layers: that many, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a state's unit is dropped, while training, on its way to the next layer.
        nonlinearity: f, `tanh` or `relu`.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise UsageError(f"{mention('model', 'rnn:nonlinearity')} takes tanh or relu, not {nonlinearity!r}.")
    kind: Kind = "rnn_tanh" if nonlinearity == "tanh" else "rnn_relu"
    wanted = Wanted(hidden, layers, bidirectional, read, dropout)
    return _stacked("rnn", kind, row, outputs, wanted)


def gru(
    row: tuple[int, ...],
    outputs: int,
    activation: Spec,  # noqa: ARG001
    *,
    hidden: Count = 32,
    layers: Count = 1,
    bidirectional: Flag = False,
    read: Word = "all",
    dropout: Fraction = 0.0,
) -> Layers:
    """Gated recurrent units: h_t = (1 - z) n + z h_{t-1}, n = tanh(W_in x_t + b_in + r (W_hn h_{t-1} + b_hn)), r, z = sigmoid(...).

    Args:
        hidden: units of the state.
        layers: that many, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a state's unit is dropped, while training, on its way to the next layer.
    """
    wanted = Wanted(hidden, layers, bidirectional, read, dropout)
    return _stacked("gru", "gru", row, outputs, wanted)


def lstm(
    row: tuple[int, ...],
    outputs: int,
    activation: Spec,  # noqa: ARG001
    *,
    hidden: Count = 32,
    layers: Count = 1,
    bidirectional: Flag = False,
    read: Word = "all",
    dropout: Fraction = 0.0,
) -> Layers:
    """Long short-term memory: c_t = f c_{t-1} + i g, h_t = o tanh(c_t), gates i, f, o = sigmoid(...), g = tanh(...).

    Args:
        hidden: units of the state.
        layers: that many, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a state's unit is dropped, while training, on its way to the next layer.
    """
    wanted = Wanted(hidden, layers, bidirectional, read, dropout)
    return _stacked("lstm", "lstm", row, outputs, wanted)


def _stacked(model: str, kind: Kind, row: tuple[int, ...], outputs: int, wanted: Wanted) -> Layers:
    if wanted.read not in ("all", "last"):
        raise UsageError(f"{mention('model', f'{model}:read')} takes all or last, not {wanted.read!r}.")
    inputs, steps = _series(model, row)
    found: list[Layer] = []
    for index in range(wanted.layers):
        is_top = index == wanted.layers - 1
        read: Read = "last" if is_top and wanted.read == "last" else "all"
        layer = Recurrent(kind, inputs, wanted.hidden, steps, wanted.bidirectional, read, channels_first=index == 0)
        found += [layer, Dropout(wanted.dropout)] if wanted.dropout > 0 else [layer]
        inputs = layer.directions * wanted.hidden
    return (*found, Linear(layer.outputs, outputs))


def _series(model: str, row: tuple[int, ...]) -> tuple[int, int]:
    """Numbers a step, and steps, of a row of this shape."""
    match row:
        case (steps,):
            return 1, steps
        case (channels, steps):
            return channels, steps
        case _:
            shape = "x".join(map(str, row))
            raise UsageError(
                f"{mention('model', model)} reads series, and a row of {shape} is none. Take a table or a series."
            )
