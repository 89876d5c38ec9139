"""What convolutional networks are made of: a convolution with norm, activation and pool, again and again, then connected layers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Sizes
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.layers import Activate, Dropout, Layer, Layers, Linear, Norm, Residual
from nnlab.networks.spatial_layers import Conv, Pool, Positions

Row = tuple[int, ...]  # (channels, length) or (channels, height, width)


@dataclass(frozen=True)
class Block:
    """A convolution and what follows it, as the keys of the model `name` spell it."""

    name: str
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
            raise UsageError(f"{mention('model', f'{self.name}:pool')} takes max, mean or none, not {self.pool!r}.")
        if self.norm not in ("batch", "group", "none"):
            hint = " Layer norm is norm=group with groups=1." if self.norm == "layer" else ""
            raise UsageError(
                f"{mention('model', f'{self.name}:norm')} takes batch, group or none, not {self.norm!r}.{hint}"
            )
        if self.groups > 1 and self.norm != "group":
            raise UsageError(
                f"{mention('model', f'{self.name}:groups={self.groups}')} goes with norm=group, not norm={self.norm}."
            )

    def network(self, row: Row, channels: Sizes, hidden: Sizes, outputs: int) -> Layers:
        """Blocks of these many channels, then connected layers."""
        layers: list[Layer] = []
        for after in channels:
            found, row = self.stage(row, after, is_first=not layers)
            layers += found
        return (*layers, *connected(math.prod(row), hidden, outputs, self.activation, self.dropout, bias=self.bias))

    def stage(self, before: Row, outputs: int, *, is_first: bool = True) -> tuple[list[Layer], Row]:
        """One convolution with what follows it, and the shape (channels, *positions) of what comes out."""
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

    def _conv(self, before: Row, outputs: int) -> Conv:
        dims = len(before) - 1
        conv = Conv(
            before, outputs, (self.kernel,) * dims, (self.stride,) * dims, (self.padding,) * dims, bias=self.bias
        )
        if min(conv.positions) < 1:
            raise UsageError(
                f"{mention('model', self.name)}: a kernel of {sides((self.kernel,) * dims)} is put on {sides(before[1:])} "
                f"{_positions(dims)} with padding {self.padding}, where it does not fit. Take a smaller kernel, more padding, fewer "
                "convolutions, less stride or pooling, or larger rows."
            )
        return conv

    def _norm(self, after: Row) -> list[Layer]:
        channels, positions = after[0], math.prod(after[1:])
        if self.norm == "none":
            return []
        if self.norm == "batch":
            return [Norm("batch", channels, positions)]
        if channels % self.groups:
            raise UsageError(
                f"{mention('model', f'{self.name}:groups={self.groups}')} can't divide {channels} channels. Take a divisor of {channels}."
            )
        return [Norm("group", channels, positions, self.groups)]

    def _pool(self, before: Row, over: Literal["max", "mean"]) -> Pool:
        window = (self.pool_size,) * (len(before) - 1)
        pool = Pool(before, over, window, window)
        if min(pool.positions) < 1:
            raise UsageError(
                f"{mention('model', self.name)}: a pool of {sides(window)} is put on {sides(before[1:])} {_positions(len(window))}, where it "
                "does not fit. Take more padding, fewer convolutions, less stride or pooling, or larger rows."
            )
        return pool


def connected(
    before: int, hidden: Sizes, outputs: int, activation: Spec, dropout: float = 0.0, *, bias: bool = True
) -> Layers:
    """Linear layers with activations between."""
    layers: list[Layer] = []
    for after in hidden:
        layers += [Linear(before, after, bias), Activate(activation)]
        if dropout > 0:
            layers.append(Dropout(dropout))
        before = after
    return (*layers, Linear(before, outputs, bias))


def sides(sizes: Positions) -> str:
    """As in 5x5."""
    return "x".join(map(str, sizes))


def _positions(dims: int) -> str:
    return "pixels" if dims == 2 else "steps"
