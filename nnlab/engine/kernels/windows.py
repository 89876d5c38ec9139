"""Windows of convolutions and pools as strided views: what each place of the kernel sees of all windows at once.

A place of the kernel (a *tap*) sees every `stride`-th position, from its own on. Where padding lies under it, its view is cut short.

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
    """What one place of the kernel sees, along each dimension of the positions.

    Attributes:
        place: in the kernel.
        count: windows in which it sees something.
        window: the first of them.
        position: what it sees there.
    """

    place: Positions
    count: Positions
    window: Positions
    position: Positions


def taps_of(layer: Conv | Pool) -> list[Tap]:
    """The kernel's places, the last dimension fastest, as PyTorch's weights have them."""
    return [_tap(layer, place) for place in itertools.product(*map(range, layer.kernel))]


def _tap(layer: Conv | Pool, place: Positions) -> Tap:
    """Window t lies on position stride t + place - padding, and sees it where 0 <= position < L."""
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
    """Some positions of every channel, in blocks [C, *positions, B]: sizes, strides and offset of their view."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def of(self, x: Tensor) -> Tensor:
        """Their view [R, C, *count, B] of blocks x [R, ...]."""
        sizes, strides = (x.shape[0], *self.sizes), (x.stride(0), *self.strides)
        return x.as_strided(sizes, strides, x.storage_offset() + self.offset)


class Windows:
    """A layer's windows in arrays of one width, B."""

    def __init__(self, layer: Conv | Pool, width: int) -> None:
        self.layer, self.width = layer, width
        self.number = math.prod(layer.positions)
        self.taps = taps_of(layer)
        self.looks = [self._places(layer.inputs[1:], tap.count, tap.position, by=layer.stride) for tap in self.taps]
        step = len(self.taps) * self.number
        self.slots = [self._places(layer.positions, tap.count, tap.window, step=step) for tap in self.taps]
        self.of: Tensor | None = None

    def seen(self, x: Tensor) -> list[Tensor]:
        """For each tap what it sees of x [R, C L, B]: [R, C, *windows, B]. Remembered: buffers are mostly the same at every step."""
        if x is not self.of:
            self.of, self.views = x, [look.of(x) for look in self.looks]
        return self.views

    def given(self, columns: Tensor) -> list[Tensor]:
        """For each tap its part of columns [R, C k, T B], of the shape of what it sees."""
        return [slots.of(columns[:, i:]) for i, slots in enumerate(self.slots)]

    def all(self, z: Tensor) -> Tensor:
        """z [R, C T, B] as [R, C, *windows, B]."""
        sizes = self.layer.positions
        return self._places(sizes, sizes, (0,) * len(sizes)).of(z)

    def behind(self) -> Iterator[Places]:
        """Positions behind the last window's `stride` first places, along each dimension."""
        layer, sizes = self.layer, self.layer.inputs[1:]
        for dim, (number, stride, padding) in enumerate(zip(layer.positions, layer.stride, layer.padding, strict=True)):
            start = max(0, number * stride - padding)
            if start < sizes[dim]:
                count = (*sizes[:dim], sizes[dim] - start, *sizes[dim + 1 :])
                yield self._places(sizes, count, tuple(start if i == dim else 0 for i in range(len(sizes))))

    def _places(
        self, sizes: Positions, count: Positions, start: Positions, *, by: Positions = (), step: int = 0
    ) -> Places:
        """So many places from `start` on, each `by` further than the last, where a channel has `sizes`.

        Args:
            step: places from one channel to the next, if not as many as a channel has.
        """
        along = tuple(math.prod(sizes[i + 1 :]) * self.width for i in range(len(sizes)))
        strides = tuple(a * b for a, b in zip(along, by, strict=True)) if by else along
        channel = (step or math.prod(sizes)) * self.width
        offset = sum(a * b for a, b in zip(along, start, strict=True))
        return Places((self.layer.inputs[0], *count, self.width), (channel, *strides, 1), offset)


class Spread:
    """Adds up at every position of an array [R, C L, B] what windows give for it.

    The first tap on a position overwrites and the others add, so that only what no tap is first on has to be made zero: positions
    between windows that leave gaps, or behind the last window.
    """

    def __init__(self, windows: Windows, into: Tensor) -> None:
        layer = windows.layer
        self.into = into
        self.views = [look.of(into) for look in windows.looks]
        self.is_first = [
            all(i < stride for i, stride in zip(tap.place, layer.stride, strict=True)) for tap in windows.taps
        ]
        has_gaps = any(k < stride for k, stride in zip(layer.kernel, layer.stride, strict=True))
        self.untouched = [into] if has_gaps else [places.of(into) for places in windows.behind()]

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
