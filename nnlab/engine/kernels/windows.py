"""Windows of convolutions and pools as strided views: for each place of the kernel, its inputs in all windows at once.

A place of the kernel (a *tap*) sees every `stride`-th position, starting at its own. Windows in which it lies on padding are left out.

Shapes: R runs, C channels, k taps, T windows, L positions, B rows of the batch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from nnlab.networks.spatial_layers import Conv, Pool, Positions


@dataclass(frozen=True)
class Tap:
    """The inputs of one place of the kernel, along each dimension of the positions.

    Attributes:
        place: in the kernel.
        count: windows in which it lies on an input, not on padding.
        window: the first of them.
        position: its input in that window.
    """

    place: Positions
    count: Positions
    window: Positions
    position: Positions


def taps_of(layer: Conv | Pool) -> list[Tap]:
    """The kernel's places, the last dimension fastest, in the order of PyTorch's weights."""
    return [_tap(layer, place) for place in itertools.product(*map(range, layer.kernel))]


def _tap(layer: Conv | Pool, place: Positions) -> Tap:
    """In window t the place lies on position stride t + place - padding; on an input if 0 <= position < L."""
    sizes = list(zip(place, layer.stride, layer.padding, strict=True))
    first = tuple(max(0, -(-(p - i) // stride)) for i, stride, p in sizes)
    last = (
        min(number, (length - 1 + p - i) // stride + 1)
        for (i, stride, p), number, length in zip(sizes, layer.positions, layer.inputs[1:], strict=True)
    )
    count = tuple(max(0, end - start) for start, end in zip(first, last, strict=True))
    position = tuple(start * stride + i - p for start, (i, stride, p) in zip(first, sizes, strict=True))
    return Tap(place, count, first, position)


@dataclass(frozen=True)
class Places:
    """Some positions of every channel in blocks [C, *positions, B]: the sizes, strides and offset of a view of them."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def of(self, x: Tensor) -> Tensor:
        """The view [R, C, *count, B] of them in blocks x [R, ...]."""
        sizes, strides = (x.shape[0], *self.sizes), (x.stride(0), *self.strides)
        return x.as_strided(sizes, strides, x.storage_offset() + self.offset)


class Windows:
    """A layer's windows in arrays of one width, B."""

    def __init__(self, layer: Conv | Pool, width: int) -> None:
        self.layer, self.width = layer, width
        self.number = math.prod(layer.positions)
        self.taps = taps_of(layer)
        self.input_places = [
            self._places(layer.inputs[1:], tap.count, tap.position, by=layer.stride) for tap in self.taps
        ]
        step = len(self.taps) * self.number
        self.column_places = [self._places(layer.positions, tap.count, tap.window, step=step) for tap in self.taps]
        self.array: Tensor | None = None

    def views_of(self, x: Tensor) -> list[Tensor]:
        """For each tap the view [R, C, *windows, B] of its inputs in x [R, C L, B]; cached, since buffers rarely change."""
        if x is not self.array:
            self.array, self.views = x, [places.of(x) for places in self.input_places]
        return self.views

    def slots_of(self, columns: Tensor) -> list[Tensor]:
        """For each tap the view of its part of columns [R, C k, T B], with the shape of its view of the input."""
        return [places.of(columns[:, i:]) for i, places in enumerate(self.column_places)]

    def by_window(self, z: Tensor) -> Tensor:
        """A view of z [R, C T, B] as [R, C, *windows, B]."""
        sizes = self.layer.positions
        return self._places(sizes, sizes, (0,) * len(sizes)).of(z)

    def places_behind(self) -> Iterator[Places]:
        """The positions behind the last window's first `stride` places, along each dimension: no tap is the first on them."""
        layer, sizes = self.layer, self.layer.inputs[1:]
        for dim, (number, stride, padding) in enumerate(zip(layer.positions, layer.stride, layer.padding, strict=True)):
            start = max(0, number * stride - padding)
            if start < sizes[dim]:
                count = (*sizes[:dim], sizes[dim] - start, *sizes[dim + 1 :])
                yield self._places(sizes, count, tuple(start if i == dim else 0 for i in range(len(sizes))))

    def _places(
        self, sizes: Positions, count: Positions, start: Positions, *, by: Positions = (), step: int = 0
    ) -> Places:
        """`count` places along each dimension, from `start` on, `by` apart, in channels of `sizes` places.

        Args:
            step: places from one channel to the next, if a channel's own are not side by side.
        """
        along = tuple(math.prod(sizes[i + 1 :]) * self.width for i in range(len(sizes)))
        strides = tuple(a * b for a, b in zip(along, by, strict=True)) if by else along
        channel = (step or math.prod(sizes)) * self.width
        offset = sum(a * b for a, b in zip(along, start, strict=True))
        return Places((self.layer.inputs[0], *count, self.width), (channel, *strides, 1), offset)


class Spread:
    """Adds up, at every position of an array [R, C L, B], the values from all windows that it lies in.

    The first tap on a position overwrites and the others add. Only positions on which no tap is first must be set to zero: those
    between windows that leave gaps, and those behind the last window.
    """

    def __init__(self, windows: Windows, into: Tensor) -> None:
        layer = windows.layer
        self.into = into
        self.views = [places.of(into) for places in windows.input_places]
        self.is_first = [
            all(i < stride for i, stride in zip(tap.place, layer.stride, strict=True)) for tap in windows.taps
        ]
        has_gaps = any(k < stride for k, stride in zip(layer.kernel, layer.stride, strict=True))
        self.untouched = [into] if has_gaps else [places.of(into) for places in windows.places_behind()]

    def __call__(self, parts: Sequence[Tensor]) -> Tensor:
        """The sums, given each tap's part [R, C, *windows, B]."""
        for places in self.untouched:
            places.zero_()
        for view, part, is_first in zip(self.views, parts, self.is_first, strict=True):
            if is_first:
                view.copy_(part)
            else:
                view.add_(part)
        return self.into
