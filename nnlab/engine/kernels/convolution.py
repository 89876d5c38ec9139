"""Convolutions of many runs at once, in one or two dimensions, differentiated by hand.

What the places of the kernel see (windows.py) is copied under each other into columns [R, C k, T B], known as im2col. Then a
convolution is one large matrix product for each run: forward W columns, backward d columns^T for the weights, and W^T d, added up
place by place, for the input. Zeros of the padding are never written over, so they are put into the columns once.

Measured against products for each window, or for each place of the kernel, which need no copy: this is the faster by a fifth.

Shapes: R runs, C channels in, O out, k places of the kernel, T windows, L positions, B rows of the batch.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nnlab.engine.arrays import Product, like, padded, padded_rows, rows_of
from nnlab.engine.kernels.windows import Spread, Windows
from nnlab.networks.spatial_layers import Conv

if TYPE_CHECKING:
    from nnlab.engine.kernels.table import Site


class ConvKernel:
    """z = W columns + b: one batched product forward, two backward."""

    def __init__(self, layer: Conv, site: Site) -> None:
        self.layer, self.first, self.fused = layer, site.first, site.weights.fused
        weight = site.weights.parameters[f"{site.name}.weight"]
        self.weight = _matrices(weight, layer.outputs)
        self.weight_gradient = _matrices(site.weights.gradients[f"{site.name}.weight"], layer.outputs)
        self.weight_T = self.weight.transpose(1, 2)
        self.bias: Tensor | None = None
        room = rows_of(self.weight_gradient)
        if layer.bias:
            self.bias = site.weights.parameters[f"{site.name}.bias"].unsqueeze(2)
            self.bias_gradient = site.weights.gradients[f"{site.name}.bias"]
            room = min(room, self.bias_gradient.stride(0))
        self.windows = Windows(layer, site.width)
        self.num_columns = self.windows.number * site.width
        rows = min(room, padded_rows(layer.outputs, layer.fan_in, self.num_columns, dtype=weight.dtype))
        self.make = partial(padded, dtype=weight.dtype, device=weight.device)
        num_windows = self.windows.number
        shape = (weight.shape[0], layer.outputs * num_windows, site.width)
        self.z = site.room(*shape, dtype=weight.dtype, device=weight.device, rows=rows * num_windows)
        self.z_matrices = _matrices(self.z, layer.outputs)
        self.forwards = Product(self.z_matrices, layer.fan_in, room=rows)
        self.outer = Product(self.weight_gradient, self.num_columns, room=min(room, rows))
        self.columns: Tensor | None = None
        self.dx: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        self.x = x
        shared = x.stride(0) == 0  # all runs see the same rows: one block of columns serves them all
        if self.columns is None or (self.columns.shape[0] == 1) != shared:
            self._make_columns(1 if shared else x.shape[0])
        for into, seen in zip(self.given, self.windows.seen(x[:1] if shared else x), strict=True):
            into.copy_(seen)
        if self.bias is None:
            self.forwards.to(self.z_matrices, self.weight, self.columns_RKT)
        else:
            self.forwards.plus(self.bias, self.weight, self.columns_RKT, self.z_matrices)
        return self.z

    def _make_columns(self, num_blocks: int) -> None:
        self.columns = self.make(num_blocks, self.layer.fan_in, self.num_columns)
        self.given = self.windows.given(self.columns)
        self.columns_RKT = self.columns.expand(self.z.shape[0], -1, -1)
        self.columns_T = self.columns_RKT.transpose(1, 2)

    def backward(self, d: Tensor) -> Tensor:
        d_matrices = _matrices(d, self.layer.outputs)
        # The input's gradient first: in a fused step the next lines change the weight that it is computed from.
        dx = d if self.first else self._backward_to_input(d_matrices)
        if self.fused:
            self.outer.plus(self.weight_gradient, d_matrices, self.columns_T, self.weight_gradient)
        else:
            self.outer.to(self.weight_gradient, d_matrices, self.columns_T)
        if self.bias is not None:
            if self.fused:
                self.bias_gradient.add_(d_matrices.sum(2))
            else:
                torch.sum(d_matrices, 2, out=self.bias_gradient)
        return dx

    def _backward_to_input(self, d: Tensor) -> Tensor:
        if self.dx is None:
            self.dx = like(self.x)
            self.spread = Spread(self.windows, self.dx)
            self.d_columns = self.make(self.z.shape[0], self.layer.fan_in, self.num_columns)
            self.parts = self.windows.given(self.d_columns)
            self.backwards = Product(self.d_columns, self.layer.outputs)
        self.backwards.to(self.d_columns, self.weight_T, d)
        return self.spread(self.parts)


def _matrices(x: Tensor, rows: int) -> Tensor:
    """Blocks x [R, ...] as matrices [R, rows, the rest]; `view` would forget how a single block is padded."""
    size = math.prod(x.shape[1:]) // rows
    return x.as_strided((x.shape[0], rows, size), (x.stride(0), size, 1), x.storage_offset())
