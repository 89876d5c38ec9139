"""Pooling over windows of many runs at once, differentiated by hand.

Shapes: R runs, C channels, k places of the kernel, T windows, L positions, B rows of the batch.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from nnlab.engine.arrays import padded_like, padded_zeros
from nnlab.engine.kernels.site import Site
from nnlab.engine.kernels.windows import Spread, Windows
from nnlab.networks.spatial_layers import Pool


class MeanPoolKernel:
    """h = the mean of each window."""

    def __init__(self, layer: Pool, site: Site) -> None:
        self.windows = Windows(layer, site.width)
        self.h: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        if self.h is None:
            self.h, self.means, self.spread = _buffers(self.windows, x)
        first, *others = self.windows.views_of(x)
        self.means.copy_(first)
        for view in others:
            self.means.add_(view)
        return self.h.div_(len(self.windows.taps))

    def backward(self, d: Tensor) -> Tensor:
        share = self.windows.by_window(d.div_(len(self.windows.taps)))
        return self.spread([share] * len(self.windows.taps))


class MaxPoolKernel:
    """h = the largest of each window; of equals, the first gets the gradient, as in PyTorch.

    `beats` has, for each place of the kernel but the first, a 1 where it is larger than all places before it. On the way back, the last
    such place takes the gradient.
    """

    def __init__(self, layer: Pool, site: Site) -> None:
        self.windows = Windows(layer, site.width)
        self.h: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if self.h is None:
            self.h, self.largest, self.spread = _buffers(self.windows, x)
            self.beats = [torch.empty_like(self.largest) for _ in self.windows.taps[1:]]
        first, *others = self.windows.views_of(x)
        self.largest.copy_(first)
        for view, beats in zip(others, self.beats, strict=True):
            if training:
                torch.gt(view, self.largest, out=beats)
            torch.maximum(self.largest, view, out=self.largest)
        return self.h

    def backward(self, d: Tensor) -> Tensor:
        left = self.windows.by_window(d)
        for beats in reversed(self.beats):
            left.sub_(beats.mul_(left))
        return self.spread([left, *self.beats])


def _buffers(windows: Windows, x: Tensor) -> tuple[Tensor, Tensor, Spread]:
    """The output, a view of it by channel and window, and the sums for the input's gradient, for inputs laid out as x."""
    make = partial(padded_zeros, dtype=x.dtype, device=x.device)
    h = make(x.shape[0], windows.layer.inputs[0] * windows.number, windows.width)
    return h, windows.by_window(h), Spread(windows, padded_like(x))


def pool_kernel(layer: Pool, site: Site) -> MaxPoolKernel | MeanPoolKernel:
    """The kernel that takes the largest of each window, or the mean."""
    return MaxPoolKernel(layer, site) if layer.over == "max" else MeanPoolKernel(layer, site)
