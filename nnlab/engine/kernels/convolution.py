"""Convolutions of many runs at once, in one or two dimensions, differentiated by hand.

The inputs under each place of the kernel (windows.py) are copied into columns [R, C k, T B], known as im2col. A convolution is then one
large matrix product for each run: forward W columns; backward d columns^T for the weights, and W^T d, added up place by place, for the
input. Zeros of the padding are never overwritten, so they are put into the columns once.

Measured against a product for each window, or for each place of the kernel, which need no copy: this is faster by a fifth.

Shapes: R runs, C channels in, O out, k places of the kernel, T windows, L positions, B rows of the batch.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from nnlab.engine.arrays import Product, padded_like, padded_rows, padded_zeros, row_capacity
from nnlab.engine.kernels.site import Site
from nnlab.engine.kernels.windows import Spread, Windows
from nnlab.networks.spatial_layers import Conv


class ConvKernel:
    """z = W columns + b: one batched product forward, two backward."""

    def __init__(self, layer: Conv, site: Site) -> None:
        self.layer, self.first, self.fused = layer, site.first, site.weights.fused
        weight = site.weights.parameters[f"{site.name}.weight"]
        self.weight = _matrices(weight, layer.outputs)
        self.weight_gradient = _matrices(site.weights.gradients[f"{site.name}.weight"], layer.outputs)
        self.weight_T = self.weight.transpose(1, 2)
        self.bias: Tensor | None = None
        room = row_capacity(self.weight_gradient)
        if layer.bias:
            self.bias = site.weights.parameters[f"{site.name}.bias"].unsqueeze(2)
            self.bias_gradient = site.weights.gradients[f"{site.name}.bias"]
            room = min(room, self.bias_gradient.stride(0))
        self.windows = Windows(layer, site.width)
        self.num_columns = self.windows.number * site.width
        rows = min(room, padded_rows(layer.outputs, layer.fan_in, self.num_columns, dtype=weight.dtype))
        self.make = partial(padded_zeros, dtype=weight.dtype, device=weight.device)
        num_windows = self.windows.number
        shape = (weight.shape[0], layer.outputs * num_windows, site.width)
        self.z = site.new_output(*shape, dtype=weight.dtype, device=weight.device, rows=rows * num_windows)
        self.z_matrices = _matrices(self.z, layer.outputs)
        self.forwards = Product(self.z_matrices, layer.fan_in, room=rows)
        self.outer = Product(self.weight_gradient, self.num_columns, room=min(room, rows))
        self.columns: Tensor | None = None
        self.dx: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        self.x = x
        shared = x.stride(0) == 0  # all runs have the same rows: one block of columns serves them all
        if self.columns is None or (self.columns.shape[0] == 1) != shared:
            self._make_columns(1 if shared else x.shape[0])
        for slot, view in zip(self.slots, self.windows.views_of(x[:1] if shared else x), strict=True):
            slot.copy_(view)
        if self.bias is None:
            self.forwards.multiply(self.z_matrices, self.weight, self.columns_RKT)
        else:
            self.forwards.multiply_add(self.bias, self.weight, self.columns_RKT, self.z_matrices)
        return self.z

    def _make_columns(self, num_blocks: int) -> None:
        self.columns = self.make(num_blocks, self.layer.fan_in, self.num_columns)
        self.slots = self.windows.slots_of(self.columns)
        self.columns_RKT = self.columns.expand(self.z.shape[0], -1, -1)
        self.columns_T = self.columns_RKT.transpose(1, 2)

    def backward(self, d: Tensor) -> Tensor:
        d_matrices = _matrices(d, self.layer.outputs)
        # The input's gradient first: in a fused step the next lines change the weight that it is computed from.
        dx = d if self.first else self._backward_to_input(d_matrices)
        if self.fused:
            self.outer.multiply_add(self.weight_gradient, d_matrices, self.columns_T, self.weight_gradient)
        else:
            self.outer.multiply(self.weight_gradient, d_matrices, self.columns_T)
        if self.bias is not None:
            if self.fused:
                self.bias_gradient.add_(d_matrices.sum(2))
            else:
                torch.sum(d_matrices, 2, out=self.bias_gradient)
        return dx

    def _backward_to_input(self, d: Tensor) -> Tensor:
        if self.dx is None:
            self.dx = padded_like(self.x)
            self.spread = Spread(self.windows, self.dx)
            self.d_columns = self.make(self.z.shape[0], self.layer.fan_in, self.num_columns)
            self.parts = self.windows.slots_of(self.d_columns)
            self.backwards = Product(self.d_columns, self.layer.outputs)
        self.backwards.multiply(self.d_columns, self.weight_T, d)
        return self.spread(self.parts)


def _matrices(x: Tensor, rows: int) -> Tensor:
    """A view of blocks x [R, ...] as matrices [R, rows, the rest]; `x.view` would forget the padding of a single block."""
    size = math.prod(x.shape[1:]) // rows
    return x.as_strided((x.shape[0], rows, size), (x.stride(0), size, 1), x.storage_offset())
