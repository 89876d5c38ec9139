"""Dense layers of many runs at once, differentiated by hand, and the free parameters of a landscape.

Shapes: R runs, H units out, D units in, B rows of the batch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from nnlab.engine.arrays import Product, padded_like, padded_rows, padded_zeros, row_capacity
from nnlab.engine.kernels.site import Kernel, Site
from nnlab.networks.layers import Free, Linear


class LinearKernel:
    """z = W x + b: one batched product forward, two backward."""

    def __init__(self, layer: Linear, site: Site) -> None:
        weights, name = site.weights, site.name
        self.layer, self.site, self.weights = layer, site, weights
        self.weight = weights.parameters[f"{name}.weight"]
        self.bias = weights.parameters[f"{name}.bias"].unsqueeze(2) if layer.bias else None
        self.weight_gradient = weights.gradients[f"{name}.weight"]
        self.bias_gradient = weights.gradients[f"{name}.bias"] if layer.bias else None
        # The room is read off the gradients, each of which has an array of its own. Parameters may lie end to end in one array, whose
        # stride says nothing of their room, but the padding behind each of them is the same.
        spare = self.weight_gradient if self.bias_gradient is None else self.bias_gradient
        room = min(row_capacity(self.weight_gradient), spare.stride(0))
        rows = min(room, padded_rows(layer.outputs, layer.inputs, site.width, dtype=self.weight.dtype))
        make = partial(site.new_output, dtype=self.weight.dtype, device=self.weight.device)
        self.z = make(self.weight.shape[0], layer.outputs, site.width, rows=rows)
        self.weight_T = self.weight.transpose(1, 2)
        self.forwards = Product(self.z, layer.inputs, room=rows)
        self.outer = Product(self.weight_gradient, site.width, room=min(room, rows))
        self.first = site.first
        self.dx: Tensor | None = None
        self.x: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        if x is not self.x:
            self.x, self.x_T = x, x.transpose(1, 2)
        if self.bias is None:
            return self.forwards.multiply(self.z, self.weight, x)
        return self.forwards.multiply_add(self.bias, self.weight, x, self.z)

    def backward(self, d: Tensor) -> Tensor:
        # The input's gradient first: in a fused step the next line changes the weight that it is computed from.
        dx = d if self.first else self._backward_to_input(d)
        if self.weights.fused:
            self.outer.multiply_add(self.weight_gradient, d, self.x_T, self.weight_gradient)
        else:
            self.outer.multiply(self.weight_gradient, d, self.x_T)
        if self.bias_gradient is not None:
            if self.weights.fused:
                self.bias_gradient.add_(d.sum(2))
            else:
                torch.sum(d, 2, out=self.bias_gradient)
        return dx

    def of_runs(self, runs: slice) -> LinearKernel:
        """The same layer for some of the runs; it writes where this one would."""
        site = replace(self.site, weights=self.site.weights.of_runs(runs), new_output=lambda *_, **__: self.z[runs])
        return LinearKernel(self.layer, site)

    def _backward_to_input(self, d: Tensor) -> Tensor:
        if self.dx is None:
            assert self.x is not None
            self.dx = self.site.new_gradient(self.x)
            self.backwards = Product(self.dx, self.weight.shape[1])
        return self.backwards.multiply(self.dx, self.weight_T, d)


class OneUnitKernel:
    """z = w . x + b, the layer of a single score, by sums of elementwise products: faster than products of single rows."""

    def __init__(self, layer: Linear, site: Site) -> None:
        self.weights, self.name, self.has_bias = site.weights, site.name, layer.bias
        self.weight = site.weights.parameters[f"{site.name}.weight"]
        self.w_T = self.weight.transpose(1, 2)
        make = partial(padded_zeros, self.weight.shape[0], dtype=self.weight.dtype, device=self.weight.device)
        self.z, self.terms = make(1, site.width), make(layer.inputs, site.width)
        self.first = site.first
        self.dx: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        self.x = x
        torch.mul(x, self.w_T, out=self.terms)
        torch.sum(self.terms, 1, keepdim=True, out=self.z)
        return self.z.add_(self.weights.parameters[f"{self.name}.bias"].unsqueeze(2)) if self.has_bias else self.z

    def backward(self, d: Tensor) -> Tensor:
        torch.mul(self.x, d, out=self.terms)
        if self.first:
            dx = d
        else:
            self.dx = padded_like(self.x) if self.dx is None else self.dx
            dx = torch.mul(self.w_T, d, out=self.dx)
        self.weights.put(f"{self.name}.weight", self.terms.sum(2).unsqueeze(1))
        if self.has_bias:
            self.weights.put(f"{self.name}.bias", d.sum(2))
        return dx


def linear_kernel(layer: Linear, site: Site) -> Kernel:
    """The kernel for the layer's number of units."""
    return OneUnitKernel(layer, site) if layer.outputs == 1 else LinearKernel(layer, site)


class FreeKernel:
    """h = theta for every row."""

    def __init__(self, layer: Free, site: Site) -> None:
        self.weights, self.name = site.weights, f"{site.name}.weight"
        self.theta = site.weights.parameters[self.name]
        make = partial(padded_zeros, dtype=self.theta.dtype, device=self.theta.device)
        self.h = make(self.theta.shape[0], layer.outputs, site.width)

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        return self.h.copy_(self.theta.expand_as(self.h))

    def backward(self, d: Tensor) -> Tensor:
        self.weights.put(self.name, d.sum(2, keepdim=True))
        return d
