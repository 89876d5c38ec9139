"""Layers over positions: convolutions and pools over the steps of a series or the pixels of an image.

A row has channels at positions, (channels, length) or (channels, height, width), stored one channel after another. `padding`
zeros are added at each end; a window of the kernel's size then stands at every `stride`-th place where it fits.

Shapes: C channels, O output channels, L positions along a dimension, k the kernel's size along it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from nnlab.networks.layers import Layer, Parameter

Positions = tuple[int, ...]  # (length,) or (height, width)


def num_windows(positions: Positions, kernel: Positions, stride: Positions, padding: Positions) -> Positions:
    """Number of windows that fit along each dimension: floor((L + 2 padding - k) / stride) + 1; 0 or less if none does."""
    sizes = zip(positions, kernel, stride, padding, strict=True)
    return tuple((length + 2 * p - k) // s + 1 for length, k, s, p in sizes)


@dataclass(frozen=True)
class Conv(Layer):
    """z[o, t] = b[o] + sum over c, i of W[o, c, i] x[c, stride t + i - padding], W [outputs, channels, *kernel].

    Attributes:
        inputs: (channels, *positions) of a row.
        outputs: channels of its output.
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
        """The positions of its output."""
        return num_windows(self.inputs[1:], self.kernel, self.stride, self.padding)

    @property
    def fan_in(self) -> int:
        """Number of products that a unit sums."""
        return self.inputs[0] * math.prod(self.kernel)

    @property
    def units(self) -> int:
        """Its output, and the window of every position, which the backward pass needs again."""
        return (self.outputs + self.fan_in) * math.prod(self.positions)

    def parameters(self, name: str) -> Iterator[Parameter]:
        shape = (self.outputs, self.inputs[0], *self.kernel)
        yield Parameter(f"{name}.weight", shape, "weight", shape)
        if self.bias:
            yield Parameter(f"{name}.bias", (self.outputs,), "bias", shape)


@dataclass(frozen=True)
class Pool(Layer):
    """h[c, t] = the maximum or mean of x[c, stride t + i] over the places i of the window.

    Positions behind the last window are ignored.
    """

    inputs: tuple[int, ...]
    over: Literal["max", "mean"]
    kernel: Positions
    stride: Positions

    @property
    def positions(self) -> Positions:
        """The positions of its output."""
        return num_windows(self.inputs[1:], self.kernel, self.stride, self.padding)

    @property
    def padding(self) -> Positions:
        """0 along each dimension: pools have no padding."""
        return (0,) * len(self.kernel)

    @property
    def units(self) -> int:
        return self.inputs[0] * math.prod(self.positions)
