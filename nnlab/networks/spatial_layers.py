"""Layers that look at positions: convolutions and pools over the steps of a series or the pixels of an image.

A row has channels at positions, (channels, length) or (channels, height, width), stored one channel after another. A window of the
kernel's size is laid on every `stride`-th place it fits, the edge first widened by `padding` zeros on each side.

Shapes: C channels, O output channels, L positions along a dimension, k the kernel's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nnlab.networks.layers import Layer, Parameter

Positions = tuple[int, ...]  # (length,) or (height, width)


def windows(positions: Positions, kernel: Positions, stride: Positions, padding: Positions) -> Positions:
    """How many windows fit along each dimension: floor((L + 2 padding - k) / stride) + 1; 0 or less where none does."""
    sizes = zip(positions, kernel, stride, padding, strict=True)
    return tuple((length + 2 * p - k) // s + 1 for length, k, s, p in sizes)


@dataclass(frozen=True)
class Conv(Layer):
    """z[o, t] = b[o] + sum over c, i of W[o, c, i] x[c, stride t + i - padding], W [outputs, channels, *kernel].

    Attributes:
        inputs: (channels, *positions) of a row.
        outputs: channels of what it gives.
        kernel, stride, padding: along each dimension of the positions.
    """

    inputs: tuple[int, ...]
    outputs: int
    kernel: Positions
    stride: Positions
    padding: Positions
    bias: bool = True

    @property
    def positions(self) -> Positions:
        """Of what it gives."""
        return windows(self.inputs[1:], self.kernel, self.stride, self.padding)

    @property
    def fan_in(self) -> int:
        """Products that meet in a unit."""
        return self.inputs[0] * math.prod(self.kernel)

    @property
    def units(self) -> int:
        """What it gives, and the window of every position, which the backward pass needs again."""
        return (self.outputs + self.fan_in) * math.prod(self.positions)

    def parameters(self, name: str) -> Iterator[Parameter]:
        shape = (self.outputs, self.inputs[0], *self.kernel)
        yield Parameter(f"{name}.weight", shape, "weight", shape)
        if self.bias:
            yield Parameter(f"{name}.bias", (self.outputs,), "bias", shape)


@dataclass(frozen=True)
class Pool(Layer):
    """h[c, t] = the largest or the mean of x[c, stride t + i] over the window's places i; places that fill no window are left out."""

    inputs: tuple[int, ...]
    over: Literal["max", "mean"]
    kernel: Positions
    stride: Positions

    @property
    def positions(self) -> Positions:
        """Of what it gives."""
        return windows(self.inputs[1:], self.kernel, self.stride, self.padding)

    @property
    def padding(self) -> Positions:
        """None, along each dimension."""
        return (0,) * len(self.kernel)

    @property
    def units(self) -> int:
        return self.inputs[0] * math.prod(self.positions)
