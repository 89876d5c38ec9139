"""Activations and dropout of many runs at once, differentiated by hand, over whole blocks of memory.

Shapes: R runs, H units, B rows of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.core.spelling import mention
from nnlab.engine.arrays import CachedView, blocks_of, from_blocks
from nnlab.engine.kernels.site import Site
from nnlab.networks.layers import Activate, Dropout


class ActivateKernel:
    """h = f(z). The slope is taken from the output if f allows it, so that z need not be kept."""

    def __init__(self, layer: Activate, site: Site) -> None:  # noqa: ARG002
        entry = activation_named(layer.activation)
        values = key_values(entry.function, layer.activation, what=mention("activation"))
        self.function: Callable[[Tensor], Tensor] = partial(entry.function, **values)
        self.slope: Callable[[Tensor], Tensor] = partial(entry.slope, **values)
        self.from_output = entry.slope_of == "output"
        self.in_place = getattr(torch, entry.in_place) if entry.in_place and self.from_output else None
        self.is_threshold = entry.is_threshold
        self.blocks_x, self.blocks_d = CachedView(blocks_of), CachedView(blocks_of)

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        z = self.blocks_x(x)
        if self.in_place is not None:
            self.kept = self.in_place(z)
            return x
        h = self.function(z)
        self.kept = h if self.from_output else z
        return from_blocks(h, x)

    def backward(self, d: Tensor) -> Tensor:
        into = self.blocks_d(d)
        if self.is_threshold:
            # The same as the slope, in one pass over memory.
            torch.ops.aten.threshold_backward.grad_input(into, self.kept, 0, grad_input=into)
        else:
            into.mul_(self.slope(self.kept))
        return d


class DropoutKernel:
    """h = x mask / (1 - p) in training; the masks come from the seeds' own streams."""

    def __init__(self, layer: Dropout, site: Site) -> None:
        self.p = layer.p
        self.masks = site.masks

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return x
        self.mask = blocks_of(self.masks(x, self.p))
        return from_blocks(blocks_of(x) * self.mask, x)

    def backward(self, d: Tensor) -> Tensor:
        blocks_of(d).mul_(self.mask)
        return d
