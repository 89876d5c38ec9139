"""Layers of many runs at once, forward and backward, differentiated by hand.

Shapes: R runs, H units out, D units in, B rows of the batch (last, so that every elementwise loop runs along the batch).

`backward` takes the gradient of the sum of all runs' losses with respect to a layer's output, and returns it with respect
to its input. The runs share no parameter, so that is, run by run, the gradient each would have had alone. Buffers are
made once a width and used again at every step: no memory is asked for in the loop. A gradient handed to `backward` is
the layer's to overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import configured
from nnlab.catalog.models import Activate, Dropout, Layer, Layers, Linear, Norm, Residual
from nnlab.engine.arrays import Product, Whole, padded, shaped, whole

NORM_EPSILON = 1e-5  # PyTorch's default, for both norms
NORM_MOMENTUM = 0.1


@dataclass
class Weights:
    """The tensors a network reads and writes, by the names that `nn.Sequential` would give them.

    Attributes:
        parameters: [R, *shape], what is trained.
        gradients: the same shapes; where the step is fused (plain SGD) the parameters themselves.
        buffers: running statistics of batch norm, [R, features].
        fused: `backward` adds to `gradients` instead of overwriting them: the gradient that comes down is already
            multiplied by minus the learning rate, so that adding it to the parameter is the step.
    """

    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]
    buffers: dict[str, Tensor]
    fused: bool


class Kernel(Protocol):
    """A layer of every run of a tile."""

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """The layer's output [R, H, B], in a buffer that the next call overwrites."""

    def backward(self, d: Tensor) -> Tensor:
        """The gradient with respect to the input, and the parameters' gradients on the way."""


class LinearKernel:
    """z = W x + b: one batched product forward, two backward."""

    def __init__(self, layer: Linear, weights: Weights, name: str, width: int, *, first: bool) -> None:
        self.weights = weights
        self.weight = weights.parameters[f"{name}.weight"]
        self.bias = weights.parameters[f"{name}.bias"].unsqueeze(2) if layer.bias else None
        self.weight_gradient = weights.gradients[f"{name}.weight"]
        self.bias_gradient = weights.gradients[f"{name}.bias"] if layer.bias else None
        make = partial(padded, self.weight.shape[0], dtype=self.weight.dtype, device=self.weight.device)
        self.z = make(layer.outputs, width)
        self.dx = None if first else make(layer.inputs, width)
        self.weight_T = self.weight.transpose(1, 2)
        self.forwards = Product(self.z, layer.inputs)
        self.backwards = None if self.dx is None else Product(self.dx, layer.outputs)
        self.outer = Product(self.weight, width)
        self.x: Tensor | None = None

    def forward(self, x: Tensor, training: bool) -> Tensor:  # noqa: ARG002
        if x is not self.x:
            self.x, self.x_T = x, x.transpose(1, 2)
        if self.bias is None:
            return self.forwards.to(self.z, self.weight, x)
        return self.forwards.plus(self.bias, self.weight, x, self.z)

    def backward(self, d: Tensor) -> Tensor:
        # The input's gradient first: in a fused step the next line changes the weight that it is computed from.
        dx = d if self.dx is None or self.backwards is None else self.backwards.to(self.dx, self.weight_T, d)
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


class ActivateKernel:
    """h = f(z); the slope is taken from the output where f allows it, so that z need not be kept."""

    def __init__(self, layer: Activate) -> None:
        entry = activation_named(layer.activation)
        values = configured(entry.function, layer.activation, what="--activation")
        self.function: Callable[[Tensor], Tensor] = partial(entry.function, **values)
        self.slope: Callable[[Tensor], Tensor] = partial(entry.slope, **values)
        self.from_output = entry.slope_of == "output"
        self.in_place = getattr(torch, entry.in_place) if entry.in_place and self.from_output else None
        self.is_relu = layer.activation.name == "relu"
        self.whole_x, self.whole_d = Whole(), Whole()

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


class NormKernel:
    """Layer norm (over features) or batch norm (over rows), with PyTorch's epsilon and running statistics."""

    def __init__(self, layer: Norm, weights: Weights, name: str) -> None:
        self.weights = weights
        self.dim = 1 if layer.over == "layer" else 2
        self.name = name
        self.weight = weights.parameters[f"{name}.weight"].unsqueeze(2)
        self.bias = weights.parameters[f"{name}.bias"].unsqueeze(2)

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if self.dim == 2 and not training:
            mean = self.weights.buffers[f"{self.name}.running_mean"].unsqueeze(2)
            variance = self.weights.buffers[f"{self.name}.running_var"].unsqueeze(2)
        else:
            variance, mean = torch.var_mean(x, self.dim, correction=0, keepdim=True)
            if self.dim == 2:
                self._remember(mean.squeeze(2), variance.squeeze(2), x.shape[2])
        self.inverse = (variance + NORM_EPSILON).rsqrt_()
        self.normal = (x - mean).mul_(self.inverse)
        h = shaped(torch.zeros_like(whole(x)), x)
        return torch.addcmul(self.bias, self.normal, self.weight, out=h)

    def _remember(self, mean: Tensor, variance: Tensor, num_rows: int) -> None:
        self.weights.buffers[f"{self.name}.running_mean"].lerp_(mean, NORM_MOMENTUM)
        unbiased = variance * (num_rows / (num_rows - 1)) if num_rows > 1 else variance
        self.weights.buffers[f"{self.name}.running_var"].lerp_(unbiased, NORM_MOMENTUM)

    def backward(self, d: Tensor) -> Tensor:
        # dx = (g - mean(g) - n mean(g n)) / sd, with g the gradient of the normalised values n (Ioffe and Szegedy 2015).
        g = d * self.weight
        spread = self.normal.mul((g * self.normal).mean(self.dim, keepdim=True))
        dx = g.sub_(g.mean(self.dim, keepdim=True)).sub_(spread).mul_(self.inverse)
        for name, gradient in (("weight", (d * self.normal).sum(2)), ("bias", d.sum(2))):
            into = self.weights.gradients[f"{self.name}.{name}"]
            if self.weights.fused:
                into.add_(gradient)
            else:
                into.copy_(gradient)
        return d.copy_(dx)


class DropoutKernel:
    """h = x mask / (1 - p) in training; the masks come from the seeds' own streams."""

    def __init__(self, layer: Dropout, masks: Callable[[int, int, float], Tensor]) -> None:
        self.p = layer.p
        self.masks = masks

    def forward(self, x: Tensor, training: bool) -> Tensor:
        if not training:
            return x
        self.mask = whole(self.masks(x.shape[1], x.shape[2], self.p))
        return shaped(whole(x) * self.mask, x)

    def backward(self, d: Tensor) -> Tensor:
        whole(d).mul_(self.mask)
        return d


class ResidualKernel:
    """h = x + inner(x)."""

    def __init__(self, inner: list[Kernel]) -> None:
        self.inner = inner

    def forward(self, x: Tensor, training: bool) -> Tensor:
        return shaped(whole(x) + whole(run_forward(self.inner, x, training)), x)

    def backward(self, d: Tensor) -> Tensor:
        through = run_backward(self.inner, shaped(whole(d).clone(), d))
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
    layers: Layers, weights: Weights, width: int, masks: Callable[[int, int, float], Tensor], prefix: str = ""
) -> list[Kernel]:
    """A kernel for each layer, with buffers for batches of `width` rows."""

    def kernel(layer: Layer, name: str) -> Kernel:
        match layer:
            case Linear():
                return LinearKernel(layer, weights, name, width, first=name == "0")
            case Activate():
                return ActivateKernel(layer)
            case Norm():
                return NormKernel(layer, weights, name)
            case Dropout():
                return DropoutKernel(layer, masks)
            case Residual(inner):
                return ResidualKernel(kernels(inner, weights, width, masks, f"{name}.inner."))

    return [kernel(layer, f"{prefix}{index}") for index, layer in enumerate(layers)]


def running_statistics(parameters: Mapping[str, Tensor], layers: Layers, prefix: str = "") -> dict[str, Tensor]:
    """Fresh running statistics for every batch norm: mean 0, variance 1."""
    found: dict[str, Tensor] = {}
    for index, layer in enumerate(layers):
        name = f"{prefix}{index}"
        if isinstance(layer, Norm) and layer.over == "batch":
            like = parameters[f"{name}.weight"]
            found[f"{name}.running_mean"] = torch.zeros_like(like)
            found[f"{name}.running_var"] = torch.ones_like(like)
        elif isinstance(layer, Residual):
            found |= running_statistics(parameters, layer.inner, f"{name}.inner.")
    return found
