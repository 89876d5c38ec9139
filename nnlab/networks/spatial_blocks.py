"""Blocks of convolutional networks: a convolution with its norm, activation, dropout and pool."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Sizes
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.dense_models import dense_layers
from nnlab.networks.layers import Activate, Dropout, Layer, Layers, Norm, Residual
from nnlab.networks.row_shapes import RowShape
from nnlab.networks.spatial_layers import Conv, Pool


@dataclass(frozen=True)
class ConvBlock:
    """A convolution and the layers behind it, as the keys of `model` describe them."""

    model: str
    activation: Spec
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: str = "none"
    pool_size: int = 2
    norm: str = "none"
    groups: int = 1
    residual: bool = False
    dropout: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        if self.pool not in ("max", "mean", "none"):
            raise UsageError(f"{self._mention('pool')} takes max, mean or none, not {self.pool!r}.")
        if self.norm not in ("batch", "group", "none"):
            hint = " Layer norm is norm=group with groups=1." if self.norm == "layer" else ""
            raise UsageError(f"{self._mention('norm')} takes batch, group or none, not {self.norm!r}.{hint}")
        if self.groups > 1 and self.norm != "group":
            raise UsageError(f"{self._mention(f'groups={self.groups}')} goes with norm=group, not norm={self.norm}.")

    def _mention(self, key: str) -> str:
        return mention("model", f"{self.model}:{key}")

    def network(self, row: RowShape, channels: Sizes, hidden: Sizes, outputs: int) -> Layers:
        """A block for each of `channels`, then dense layers."""
        layers: list[Layer] = []
        for after in channels:
            found, row = self.layers(row, after, is_first=not layers)
            layers += found
        dense = dense_layers(math.prod(row), hidden, outputs, self.activation, dropout=self.dropout, bias=self.bias)
        return (*layers, *dense)

    def layers(self, before: RowShape, outputs: int, *, is_first: bool = True) -> tuple[list[Layer], RowShape]:
        """The layers of one block, and the shape (channels, *positions) of its output."""
        conv = self._conv(before, outputs)
        after = (outputs, *conv.positions)
        layers: list[Layer] = [conv, *self._norm(after), Activate(self.activation)]
        if self.dropout > 0:
            layers.append(Dropout(self.dropout))
        if self.residual and not is_first and after == before:
            layers = [Residual(tuple(layers))]
        if self.pool == "none":
            return layers, after
        pool = self._pool(after, "max" if self.pool == "max" else "mean")
        return [*layers, pool], (outputs, *pool.positions)

    def _conv(self, before: RowShape, outputs: int) -> Conv:
        dims = len(before) - 1
        conv = Conv(
            before, outputs, (self.kernel,) * dims, (self.stride,) * dims, (self.padding,) * dims, bias=self.bias
        )
        if min(conv.positions) < 1:
            raise UsageError(
                f"{mention('model', self.model)}: a kernel of {spell_value(conv.kernel)} does not fit on"
                f" {_positions(before)} with padding {self.padding}. Take a smaller kernel, more padding, fewer"
                " convolutions, less stride or pooling, or larger rows."
            )
        return conv

    def _norm(self, after: RowShape) -> list[Layer]:
        channels, positions = after[0], math.prod(after[1:])
        if self.norm == "none":
            return []
        if self.norm == "batch":
            return [Norm("batch", channels, positions)]
        if channels % self.groups:
            raise UsageError(
                f"{self._mention(f'groups={self.groups}')} can't divide {channels} channels. Take a divisor of"
                f" {channels}."
            )
        return [Norm("group", channels, positions, self.groups)]

    def _pool(self, before: RowShape, over: Literal["max", "mean"]) -> Pool:
        window = (self.pool_size,) * (len(before) - 1)
        pool = Pool(before, over, window, window)
        if min(pool.positions) < 1:
            raise UsageError(
                f"{mention('model', self.model)}: a pool of {spell_value(window)} does not fit on {_positions(before)}."
                " Take more padding, fewer convolutions, less stride or pooling, or larger rows."
            )
        return pool


def _positions(row: RowShape) -> str:
    """`40 steps` of a series, `8x8 pixels` of an image."""
    return f"{spell_value(row[1:])} {'pixels' if len(row) == 3 else 'steps'}"
