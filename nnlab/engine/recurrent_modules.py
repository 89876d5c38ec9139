"""Recurrent layers as PyTorch's own modules, for the plain loop and for vmap.

Shapes: B rows, T steps, C inputs a step, H hidden units, S directions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from nnlab.networks.recurrent_layer import CellKind, Recurrent


def _series(layer: Recurrent, x: Tensor) -> Tensor:
    """A view of flat rows as series [B, T, C]."""
    if layer.channels_first:
        return torch.unflatten(x, 1, (layer.inputs, layer.steps)).transpose(1, 2)
    return torch.unflatten(x, 1, (layer.steps, layer.inputs))


def _flat(layer: Recurrent, states: Tensor, last: Tensor) -> Tensor:
    """The layer's output as flat rows: all states [B, T, S H], or only the last [S, B, H]."""
    return states.flatten(1) if layer.read == "all" else last.transpose(0, 1).flatten(1)


class FlatRNN(nn.RNN):
    """nn.RNN from flat rows to flat rows."""

    def __init__(self, layer: Recurrent) -> None:
        nonlinearity = layer.kind.removeprefix("rnn_")
        super().__init__(
            layer.inputs,
            layer.hidden,
            nonlinearity=nonlinearity,
            batch_first=True,
            bidirectional=layer.bidirectional,
        )
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return _flat(self.layer, *super().forward(_series(self.layer, x)))


class FlatGRU(nn.GRU):
    """nn.GRU from flat rows to flat rows."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__(layer.inputs, layer.hidden, batch_first=True, bidirectional=layer.bidirectional)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return _flat(self.layer, *super().forward(_series(self.layer, x)))


class FlatLSTM(nn.LSTM):
    """nn.LSTM from flat rows to flat rows."""

    def __init__(self, layer: Recurrent) -> None:
        super().__init__(layer.inputs, layer.hidden, batch_first=True, bidirectional=layer.bidirectional)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        states, (last, _) = super().forward(_series(self.layer, x))
        return _flat(self.layer, states, last)


_MODULES: Final[Mapping[CellKind, Callable[[Recurrent], nn.Module]]] = {
    "rnn_tanh": FlatRNN,
    "rnn_relu": FlatRNN,
    "gru": FlatGRU,
    "lstm": FlatLSTM,
}


def recurrent_module(layer: Recurrent) -> nn.Module:
    """The layer as nn.RNN, nn.GRU or nn.LSTM, with their parameters' names."""
    return _MODULES[layer.kind](layer)
