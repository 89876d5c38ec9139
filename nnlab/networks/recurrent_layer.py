"""The recurrent layer: a row read as a series, step after step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from nnlab.networks.layers import Layer, Parameter

CellKind: TypeAlias = Literal["rnn_tanh", "rnn_relu", "gru", "lstm"]
StatesRead: TypeAlias = Literal["all", "last"]

# Blocks of `hidden` rows in each weight: the gates, in PyTorch's order.
_NUM_GATES: Final[Mapping[CellKind, int]] = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}
# Values that one unit keeps of one step: its gates, their terms, and its states.
_NUM_KEPT: Final[Mapping[CellKind, int]] = {"rnn_tanh": 2, "rnn_relu": 2, "gru": 5, "lstm": 7}


@dataclass(frozen=True)
class Recurrent(Layer):
    """One layer of PyTorch's nn.RNN, nn.GRU or nn.LSTM, whose states start at zero.

    Its input for a row is `steps` steps of `inputs` numbers. Its output is the states of all steps, one step after the other,
    each with the states of both directions, [steps, directions * hidden]; or the last states only, [directions * hidden].

    Attributes:
        kind: the cell.
        inputs: numbers per step.
        hidden: units of the state.
        steps: length of the series.
        bidirectional: a second state reads the series from its end.
        read: the states that are the output; the last one of the second direction is that at the beginning of the series.
        channels_first: the input holds all steps of a channel together; else all channels of a step.
    """

    kind: CellKind
    inputs: int
    hidden: int
    steps: int
    bidirectional: bool = False
    read: StatesRead = "all"
    channels_first: bool = True

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def outputs(self) -> int:
        """Numbers in its output for a row."""
        return (self.steps if self.read == "all" else 1) * self.directions * self.hidden

    @property
    def units(self) -> int:
        step = _NUM_KEPT[self.kind] * self.hidden + self.inputs
        return self.steps * self.directions * step + self.outputs

    def parameters(self, name: str) -> Iterator[Parameter]:
        bound = 1.0 / math.sqrt(self.hidden)
        rows = _NUM_GATES[self.kind] * self.hidden
        into, between = (rows, self.inputs), (rows, self.hidden)
        for end in ("", "_reverse")[: self.directions]:
            yield Parameter(f"{name}.weight_ih_l0{end}", into, "weight", into, bound)
            yield Parameter(f"{name}.weight_hh_l0{end}", between, "weight", between, bound)
            yield Parameter(f"{name}.bias_ih_l0{end}", (rows,), "bias", into, bound)
            yield Parameter(f"{name}.bias_hh_l0{end}", (rows,), "bias", between, bound)
