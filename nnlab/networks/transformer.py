"""The transformer: a row read as a series whose steps attend to one another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.module_layer import Module
from nnlab.networks.row_shapes import RowShape, series_shape

if TYPE_CHECKING:
    from torch import nn

    from nnlab.core.kinds import Count, Fraction
    from nnlab.networks.layers import Layers


def transformer(
    row: RowShape,
    outputs: int,
    activation: Spec,
    *,
    width: Count = 32,
    heads: Count = 4,
    depth: Count = 2,
    feedforward: Count = 64,
    dropout: Fraction = 0.0,
) -> Layers:
    """A small encoder: embedded steps with learned positions pass through blocks of attention and two layers; their mean is scored.

    Norms stand before attention and before the two layers, between which the activation stands.

    Args:
        width: numbers per step inside the encoder.
        heads: heads of attention, among which the width is divided.
        depth: blocks.
        feedforward: hidden units of a block's two layers.
        dropout: probability with which attention weights and units are dropped in training.
    """
    if width % heads:
        raise UsageError(f"{mention('model', 'transformer:width')} must be a multiple of heads={heads}, not {width}.")
    series_shape(row, model="transformer")  # an image is refused here, before torch is loaded
    keys: dict[str, Any] = {
        "width": width,
        "heads": heads,
        "depth": depth,
        "feedforward": feedforward,
        "dropout": dropout,
    }
    spec = Spec("transformer", tuple((key, spell_value(value)) for key, value in keys.items()))
    return (Module(spec, row, outputs, activation, partial(_encoder, row, outputs, activation, keys)),)


def _encoder(row: RowShape, outputs: int, activation: Spec, keys: dict[str, Any]) -> nn.Module:
    from nnlab.networks.encoder import Encoder

    return Encoder(row, outputs, activation, **keys)
