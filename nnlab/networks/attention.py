"""Models that attend: a row read as a series, whose steps look at one another."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.module_layer import Module

if TYPE_CHECKING:
    from torch import nn

    from nnlab.core.kinds import Count, Fraction
    from nnlab.networks.layers import Layers


def transformer(
    row: tuple[int, ...],
    outputs: int,
    activation: Spec,
    *,
    width: Count = 32,
    heads: Count = 4,
    depth: Count = 2,
    feedforward: Count = 64,
    dropout: Fraction = 0.0,
) -> Layers:
    """A small encoder: steps embedded, with learned positions, through blocks of attention and two layers; their mean is scored.

    Norms stand before attention and before the two layers, whose activation is `--activation`.

    Args:
        width: of a step within.
        heads: among which the width is divided.
        depth: blocks.
        feedforward: hidden units of a block's two layers.
        dropout: probability with which attention's weights and units are dropped while training.
    """
    if width % heads:
        raise UsageError(f"{mention('model', 'transformer:width')} must be a multiple of heads={heads}, not {width}.")
    if len(row) > 2:
        raise UsageError(
            f"{mention('model', 'transformer')} reads series, (steps,) or (channels, steps), not rows of shape {row}."
        )
    keys: dict[str, Any] = {"width": width, "heads": heads, "depth": depth, "feedforward": feedforward}
    keys["dropout"] = dropout
    spec = Spec("transformer", tuple((key, spell_value(value)) for key, value in keys.items()))
    return (Module(spec, row, outputs, activation, partial(_encoder, row, outputs, activation, keys)),)


def _encoder(row: tuple[int, ...], outputs: int, activation: Spec, keys: dict[str, Any]) -> nn.Module:
    from nnlab.networks.encoder import Encoder

    return Encoder(row, outputs, activation, **keys)
