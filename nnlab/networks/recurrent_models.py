"""Recurrent models: recurrent layers on top of each other, then the scores.

The keys of a model are the keyword-only parameters of its function, so all three list the keys that they share. Their meaning
is written once, in `_recurrent_layers`; a test holds the lists equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention
from nnlab.networks.layers import Dropout, Layer, Layers, Linear
from nnlab.networks.recurrent_layer import CellKind, Recurrent, StatesRead
from nnlab.networks.row_shapes import RowShape, series_shape

if TYPE_CHECKING:
    from nnlab.core.kinds import Count, Flag, Fraction, Word
    from nnlab.core.spec import Spec


def rnn(
    row: RowShape,
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
        layers: number of layers, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a unit of a state is dropped, in training, on its way to the next layer.
        nonlinearity: f, `tanh` or `relu`.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise UsageError(f"{mention('model', 'rnn:nonlinearity')} takes tanh or relu, not {nonlinearity!r}.")
    cell: CellKind = "rnn_tanh" if nonlinearity == "tanh" else "rnn_relu"
    return _recurrent_layers(
        "rnn", cell, row, outputs, hidden=hidden, layers=layers, bidirectional=bidirectional, read=read, dropout=dropout
    )


def gru(
    row: RowShape,
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
        layers: number of layers, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a unit of a state is dropped, in training, on its way to the next layer.
    """
    return _recurrent_layers(
        "gru",
        "gru",
        row,
        outputs,
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        read=read,
        dropout=dropout,
    )


def lstm(
    row: RowShape,
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
        layers: number of layers, each reading the states of the one before.
        bidirectional: a second state reads the series from its end.
        read: `all` steps' states, or the `last` of each direction.
        dropout: probability with which a unit of a state is dropped, in training, on its way to the next layer.
    """
    return _recurrent_layers(
        "lstm",
        "lstm",
        row,
        outputs,
        hidden=hidden,
        layers=layers,
        bidirectional=bidirectional,
        read=read,
        dropout=dropout,
    )


def _recurrent_layers(
    model: str,
    cell: CellKind,
    row: RowShape,
    outputs: int,
    *,
    hidden: int,
    layers: int,
    bidirectional: bool,
    read: str,
    dropout: float,
) -> Layers:
    """The layers that the keys of a recurrent model describe."""
    if read not in ("all", "last"):
        raise UsageError(f"{mention('model', f'{model}:read')} takes all or last, not {read!r}.")
    inputs, steps = series_shape(row, model=model)
    found: list[Layer] = []
    for index in range(layers):
        is_top = index == layers - 1
        states: StatesRead = "last" if is_top and read == "last" else "all"
        layer = Recurrent(cell, inputs, hidden, steps, bidirectional, states, channels_first=index == 0)
        found += [layer, Dropout(dropout)] if dropout > 0 else [layer]
        inputs = layer.directions * hidden
    return (*found, Linear(layer.outputs, outputs))
