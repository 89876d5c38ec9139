"""Layers of many runs at once, forward and backward, differentiated by hand.

Shapes: R runs, H units out, D units in, B rows of the batch (last, so that every elementwise loop runs along the batch).

`backward` takes the gradient of the sum of all runs' losses with respect to a layer's output, and returns it with respect
to its input. The runs share no parameter, so that is, run by run, the gradient each would have had alone. Buffers are
made once a width and used again at every step: a layer asks for no memory in the loop. A gradient handed to `backward` is
the layer's to overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.core.spelling import mention
from nnlab.engine.arrays import InTurn, Product, Remembered, like, padded, padded_rows, parts_of, rows_of, shaped, whole
from nnlab.engine.kernels.convolution import ConvKernel
from nnlab.engine.kernels.normalisation import NormKernel
from nnlab.engine.kernels.pooling import pool_kernel
from nnlab.engine.kernels.recurrence import RecurrentKernel
from nnlab.networks.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual, walk
from nnlab.networks.recurrent_layer import Recurrent
from nnlab.networks.spatial_layers import Conv, Pool


@dataclass
class Weights:
    """The tensors a network reads and writes, by the names that `nn.Sequential` would give them.

    Attributes:
        parameters: [R, *shape], what is trained.
        gradients: the same shapes; where the step is fused (plain SGD) the parameters themselves.
        buffers: running statistics of batch norm, [R, features].
        fused: `backward` adds to `gradients` instead of overwriting them: the gradient that comes down is already
            multiplied by minus the learning rate, so that adding it to the parameter is the step.
        joined: all parameters of a run in one block [R, P], of which `parameters` are views; None where each has an array of its own.
    """

    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]
    fused: bool
    joined: Tensor | None = None

    @cached_property
    def blocks(self) -> list[Tensor]:
        """Every parameter, as the arrays [R, n] that elementwise work is done on: one where they lie end to end."""
        return [whole(p) for p in self.parameters.values()] if self.joined is None else [self.joined]

    def by_name(self, blocks: Sequence[Tensor]) -> dict[str, Tensor]:
        """Arrays laid out as `blocks`, by the parameters' names."""
        if self.joined is not None:
            return parts_of(blocks[0], self.gradients)
        return {name: shaped(block, p) for block, (name, p) in zip(blocks, self.parameters.items(), strict=True)}

    def of_runs(self, runs: slice) -> Weights:
        """Parameters and gradients of some of the runs, as views: for a layer, not for a rule, which takes whole blocks."""
        parameters = {name: p[runs] for name, p in self.parameters.items()}
        gradients = parameters if self.fused else {name: g[runs] for name, g in self.gradients.items()}
        return Weights(parameters, gradients, {}, self.fused)

    def put(self, name: str, gradient: Tensor) -> None:
        """Take the gradient of a parameter."""
        if self.fused:
            self.gradients[name].add_(gradient)
        else:
            self.gradients[name].copy_(gradient)


@dataclass(frozen=True)
class Site:
    """Where a kernel stands.

    Attributes:
        weights: what the network reads and writes.
        name: of the layer, whose parameters' names begin with it.
        width: B, rows of a batch.
        masks: draws dropout masks, given an array of their shape and layout, and p.
        first: no layer before this one needs its input's gradient.
        room: makes the array for a layer's output, as `padded` does.
        back: makes the array for the gradient of a layer's input, given the input. The layer before overwrites what it is handed
            next but one: two arrays of a layout go back and forth, and stay in a cache.
    """

    weights: Weights
    name: str
    width: int
    masks: Callable[[Tensor, float], Tensor]
    first: bool
    room: Callable[..., Tensor]
    back: Callable[[Tensor], Tensor]


class Kernel(Protocol):
    """A layer of every run of a tile."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """The layer's output [R, H, B], in a buffer that the next call overwrites."""

    def backward(self, d: Tensor) -> Tensor:
        """The gradient with respect to the input, and the parameters' gradients on the way."""


class LinearKernel:
    """z = W x + b: one batched product forward, two backward."""

    def __init__(self, layer: Linear, site: Site) -> None:
        weights, name = site.weights, site.name
        self.layer, self.site, self.weights = layer, site, weights
        self.weight = weights.parameters[f"{name}.weight"]
        self.bias = weights.parameters[f"{name}.bias"].unsqueeze(2) if layer.bias else None
        self.weight_gradient = weights.gradients[f"{name}.weight"]
        self.bias_gradient = weights.gradients[f"{name}.bias"] if layer.bias else None
        # Gradients have blocks of their own, and what is beside them there is beside the parameters too.
        spare = self.weight_gradient if self.bias_gradient is None else self.bias_gradient
        room = min(rows_of(self.weight_gradient), spare.stride(0))
        rows = min(room, padded_rows(layer.outputs, layer.inputs, site.width, dtype=self.weight.dtype))
        make = partial(site.room, dtype=self.weight.dtype, device=self.weight.device)
        self.z = make(self.weight.shape[0], layer.outputs, site.width, rows=rows)
        self.weight_T = self.weight.transpose(1, 2)
        self.forwards = Product(self.z, layer.inputs, room=rows)
        self.outer = Product(self.weight_gradient, site.width, room=min(room, rows))
        self.first, self.back = site.first, site.back
        self.dx: Tensor | None = None
        self.x: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        if x is not self.x:
            self.x, self.x_T = x, x.transpose(1, 2)
        if self.bias is None:
            return self.forwards.to(self.z, self.weight, x)
        return self.forwards.plus(self.bias, self.weight, x, self.z)

    def backward(self, d: Tensor) -> Tensor:
        # The input's gradient first: in a fused step the next line changes the weight that it is computed from.
        dx = d if self.first else self._backward_to_input(d)
        if self.weights.fused:
            self.outer.plus(self.weight_gradient, d, self.x_T, self.weight_gradient)
        else:
            self.outer.to(self.weight_gradient, d, self.x_T)
        if self.bias_gradient is not None:
            if self.weights.fused:
                self.bias_gradient.add_(d.sum(2))
            else:
                torch.sum(d, 2, out=self.bias_gradient)
        return dx

    def of_runs(self, runs: slice) -> LinearKernel:
        """The same layer for some of the runs, which writes where this one would."""
        site = replace(self.site, weights=self.site.weights.of_runs(runs), room=lambda *_, **__: self.z[runs])
        return LinearKernel(self.layer, site)

    def _backward_to_input(self, d: Tensor) -> Tensor:
        if self.dx is None:
            assert self.x is not None
            self.dx = self.back(self.x)
            self.backwards = Product(self.dx, self.weight.shape[1])
        return self.backwards.to(self.dx, self.weight_T, d)


class OneUnitKernel:
    """z = w . x + b, the layer of a single score: sums of elementwise products, which beat products of single rows."""

    def __init__(self, layer: Linear, site: Site) -> None:
        self.weights, self.name, self.has_bias = site.weights, site.name, layer.bias
        self.weight = site.weights.parameters[f"{site.name}.weight"]
        self.w_T = self.weight.transpose(1, 2)
        make = partial(padded, self.weight.shape[0], dtype=self.weight.dtype, device=self.weight.device)
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
            self.dx = like(self.x) if self.dx is None else self.dx
            dx = torch.mul(self.w_T, d, out=self.dx)
        self.weights.put(f"{self.name}.weight", self.terms.sum(2).unsqueeze(1))
        if self.has_bias:
            self.weights.put(f"{self.name}.bias", d.sum(2))
        return dx


def linear_kernel(layer: Linear, site: Site) -> Kernel:
    """The kernel for so many units."""
    return OneUnitKernel(layer, site) if layer.outputs == 1 else LinearKernel(layer, site)


class FreeKernel:
    """h = theta for every row."""

    def __init__(self, layer: Free, site: Site) -> None:
        self.weights, self.name = site.weights, f"{site.name}.weight"
        self.theta = site.weights.parameters[self.name]
        make = partial(padded, dtype=self.theta.dtype, device=self.theta.device)
        self.h = make(self.theta.shape[0], layer.outputs, site.width)

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        return self.h.copy_(self.theta.expand_as(self.h))

    def backward(self, d: Tensor) -> Tensor:
        self.weights.put(self.name, d.sum(2, keepdim=True))
        return d


class ActivateKernel:
    """h = f(z); the slope is taken from the output where f allows it, so that z need not be kept."""

    def __init__(self, layer: Activate, site: Site) -> None:  # noqa: ARG002
        entry = activation_named(layer.activation)
        values = key_values(entry.function, layer.activation, what=mention("activation"))
        self.function: Callable[[Tensor], Tensor] = partial(entry.function, **values)
        self.slope: Callable[[Tensor], Tensor] = partial(entry.slope, **values)
        self.from_output = entry.slope_of == "output"
        self.in_place = getattr(torch, entry.in_place) if entry.in_place and self.from_output else None
        self.is_relu = layer.activation.name == "relu"
        self.whole_x, self.whole_d = Remembered(whole), Remembered(whole)

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        z = self.whole_x(x)
        if self.in_place is not None:
            self.kept = self.in_place(z)
            return x
        h = self.function(z)
        self.kept = h if self.from_output else z
        return shaped(h, x)

    def backward(self, d: Tensor) -> Tensor:
        into = self.whole_d(d)
        if self.is_relu:
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
        self.mask = whole(self.masks(x, self.p))
        return shaped(whole(x) * self.mask, x)

    def backward(self, d: Tensor) -> Tensor:
        whole(d).mul_(self.mask)
        return d


class ResidualKernel:
    """h = x + inner(x)."""

    def __init__(self, inner: list[Kernel]) -> None:
        self.inner = inner

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.h = run_forward(self.inner, x, training)
        return torch.add(x, self.h, out=like(x))

    def backward(self, d: Tensor) -> Tensor:
        through = run_backward(self.inner, like(self.h).copy_(d))
        whole(d).add_(whole(through))
        return d


def run_forward(kernels: list[Kernel], x: Tensor, training: bool) -> Tensor:
    """The output of the last layer."""
    for kernel in kernels:
        x = kernel.forward(x, training)
    return x


def run_backward(kernels: list[Kernel], d: Tensor) -> Tensor:
    """The gradient with respect to the first layer's input."""
    for kernel in reversed(kernels):
        d = kernel.backward(d)
    return d


def kernels(
    layers: Layers,
    weights: Weights,
    width: int,
    masks: Callable[[Tensor, float], Tensor],
    *,
    training: bool = True,
    prefix: str = "",
) -> list[Kernel]:
    """A kernel for each layer, with buffers for batches of `width` rows.

    Args:
        layers: of the network.
        weights: that they read and write.
        width: rows of a batch.
        masks: see Site.
        training: whether `backward` will be asked for; without it layers share their buffers, which then stay in a cache.
        prefix: of the names of the layers.
    """
    room = padded if training else InTurn()
    back = InTurn().like

    def kernel(layer: Layer, name: str) -> Kernel:
        if isinstance(layer, Residual):
            inner = kernels(layer.inner, weights, width, masks, training=training, prefix=f"{name}.inner.")
            return ResidualKernel(inner)
        return KERNELS[type(layer)](layer, Site(weights, name, width, masks, name == "0", room, back))

    return [kernel(layer, f"{prefix}{index}") for index, layer in enumerate(layers)]


def running_statistics(parameters: Mapping[str, Tensor], layers: Layers) -> dict[str, Tensor]:
    """Fresh running statistics for every batch norm: mean 0, variance 1."""
    found: dict[str, Tensor] = {}
    for name, layer in walk(layers):
        if isinstance(layer, Norm) and layer.over == "batch":
            like = parameters[f"{name}.weight"]
            found[f"{name}.running_mean"] = torch.zeros_like(like)
            found[f"{name}.running_var"] = torch.ones_like(like)
    return found


# A new kind of layer is a line here; a kernel is made of (layer, site).
KERNELS: Final[Mapping[type[Layer], Callable[[Any, Site], Kernel]]] = {
    Linear: linear_kernel,
    Free: FreeKernel,
    Activate: ActivateKernel,
    Norm: NormKernel,
    Dropout: DropoutKernel,
    Conv: ConvKernel,
    Pool: pool_kernel,
    Recurrent: RecurrentKernel,
}
