"""A forward pass through the networks of many runs in plain, differentiable PyTorch, which keeps every layer's inputs and outputs.

Shapes: R runs, N rows (last), D inputs of a layer, H its units, C scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Final

import torch
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.layers import NORM_EPSILON, Activate, Dropout, Layer, Layers, Linear, Norm, Residual, walk

SATURATED: Final = 0.05  # of the steepest slope


@dataclass(frozen=True)
class Elementwise:
    """An activation with its keys.

    Attributes:
        function: h = f(z).
        slope: f'(z).
        bounded: True if h stays between two numbers.
        steepest: the largest |f'|.
        reaches_zero: True if some z gives h = 0.
    """

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    bounded: bool
    steepest: float
    reaches_zero: bool


@cache
def elementwise_activation(spec: Spec) -> Elementwise:
    """The activation that `spec` names. Its steepest slope is the largest at 0 and at 1 % steps from 1e-6 to 100 on either side."""
    entry = activation_named(spec)
    values = key_values(entry.function, spec, what=mention("activation"))
    function: Callable[[Tensor], Tensor] = partial(entry.function, **values)

    def slope(z: Tensor) -> Tensor:
        found: Tensor = entry.slope(function(z) if entry.slope_of == "output" else z, **values)
        return found

    sizes = torch.logspace(-6, 2, 1601, dtype=torch.float64)
    z = torch.cat([-sizes, torch.zeros(1, dtype=torch.float64), sizes])
    return Elementwise(function, slope, entry.bounded, slope(z).abs().max().item(), bool((function(z) == 0).any()))


@dataclass(frozen=True)
class ActivatedPass:
    """The values of an activation: h = f(a), both [R, H, N]; a is z, or the output of a norm on z."""

    activation: Elementwise
    a: Tensor
    h: Tensor


@dataclass
class LinearPass:
    """The values of a linear layer.

    Attributes:
        name: as `nn.Sequential` would name it.
        weight: [R, H, D].
        bias: [R, H].
        inputs: [R, D, N].
        z: [R, H, N].
        activated: the values of the activation that follows; None for scores.
    """

    name: str
    weight: Tensor
    bias: Tensor | None
    inputs: Tensor
    z: Tensor
    activated: ActivatedPass | None = None


def scores_and_passes(layers: Layers, weights: Mapping[str, Tensor], x: Tensor) -> tuple[Tensor, list[LinearPass]]:
    """The scores [R, C, N], and the values of every linear layer from the input on; every z can be differentiated by.

    Args:
        layers: the network.
        weights: its parameters by name, [R, *shape].
        x: inputs, [D, N] or [R, D, N].
    """
    passes: list[LinearPass] = []
    num_runs = next(iter(weights.values())).shape[0]
    scores = _pass_layers(layers, weights, "", x.expand(num_runs, *x.shape[-2:]), passes)
    return scores, passes


def is_probed(layers: Layers) -> bool:
    """True if the signal can be followed through every layer of a network."""
    return all(isinstance(layer, Linear | Activate | Norm | Dropout | Residual) for _, layer in walk(layers))


def _pass_layers(
    layers: Layers, weights: Mapping[str, Tensor], prefix: str, h: Tensor, passes: list[LinearPass]
) -> Tensor:
    for index, layer in enumerate(layers):
        h = _pass_layer(layer, weights, f"{prefix}{index}", h, passes)
    return h


def _pass_layer(layer: Layer, weights: Mapping[str, Tensor], name: str, x: Tensor, passes: list[LinearPass]) -> Tensor:
    match layer:
        case Linear():
            weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
            z = weight @ x if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, x)
            passes.append(LinearPass(name, weight, bias, x, z.requires_grad_()))
            return z
        case Activate(spec):
            activation = elementwise_activation(spec)
            h = activation.function(x)
            passes[-1].activated = ActivatedPass(activation, x, h)
            return h
        case Norm(over):
            variance, mean = torch.var_mean(x, 1 if over == "layer" else 2, correction=0, keepdim=True)
            normal = (x - mean) * (variance + NORM_EPSILON).rsqrt()
            return normal * weights[f"{name}.weight"].unsqueeze(2) + weights[f"{name}.bias"].unsqueeze(2)
        case Dropout():
            return x
        case Residual(inner):
            return x + _pass_layers(inner, weights, f"{name}.inner.", x, passes)
        case _:
            raise TypeError(f"no pass through {type(layer).__name__}; see is_probed")


def share_of_dead(activated: ActivatedPass) -> dict[str, Tensor]:
    """`dead_fraction`, [R]: the share of units that are 0 on every row; empty for an activation that is never 0."""
    if not activated.activation.reaches_zero:
        return {}
    h = activated.h.detach()
    return {"dead_fraction": ((h.amax(2) == 0) & (h.amin(2) == 0)).double().mean(1)}


def share_of_saturated(activated: ActivatedPass) -> dict[str, Tensor]:
    """`saturated_fraction`, [R]: the share of |f'| below SATURATED times the largest; empty for an unbounded activation."""
    if not activated.activation.bounded:
        return {}
    slopes = activated.activation.slope(activated.a.detach()).abs()
    return {"saturated_fraction": (slopes < SATURATED * activated.activation.steepest).double().mean((1, 2))}
