"""The scale of every layer's pre-activations, predicted from the distribution of the weights alone.

For a given input of a wide layer, a unit's pre-activation is normal over draws of weights with mean 0:

    z ~ N(0, q),    q = fan_in var(w) E[h^2] + var(b),    and then    E[h^k] = E[f(sqrt(q) u)^k],    u ~ N(0, 1)

Each row of the data has a q of its own (the rows of a digit differ in size, and tanh is not linear in it), so rows of similar size
are propagated together. The expectation is a Gauss-Legendre rule on either side of 0, where most activations have their kink.

    layer norm   each row has mean 0 and variance q / (q + epsilon)
    residual     E[(h + t)^2] = E[h^2] + 2 E[h] E[t] + E[t^2]: the draws of the inner layer are independent of its input's signs
    dropout      ignored, as in the probe
    LSUV         its factor on the weights follows from the q that they would have without it
    batch norm   no prediction behind it: it divides by the spread between rows, which second moments don't determine
    other means  no prediction for weights whose mean is not 0 (constant, uniform between 0 and 1), except for zeros

Sources: Poole et al. 2016, eq. 3; He et al. 2015, eq. 9; Yang and Schoenholz 2017 for residual layers.
Shapes: G groups of rows, N rows, D features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from nnlab.catalog.entry import key_values
from nnlab.catalog.inits import Init, init_named, resolve_gain
from nnlab.core.kinds import Value
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.diagnostics.signals.passes import elementwise_activation
from nnlab.networks.layers import NORM_EPSILON, Activate, Dropout, Layer, Layers, Linear, Norm, Residual, activation_of

_GROUPS: Final = 32  # of rows of similar size
_NODES: Final = 48  # on either side of 0
_FARTHEST: Final = 10.0  # standard deviations


@dataclass(frozen=True)
class _Law:
    """The distribution of the weights at the start: an init and the values of its keys."""

    init: Init
    values: Mapping[str, Value | None]

    def second_moment(self, layer: Linear, entering: Tensor) -> Tensor:
        """q of each group [G]; NaN if it can't be predicted."""
        if not self._is_centred():
            return torch.full_like(entering, math.nan)
        variance = self.init.variance((layer.outputs, layer.inputs), **self.values)
        q = layer.inputs * variance * entering
        if self.init.rescale is not None:
            q = q * self.init.rescale(q.mean().sqrt()).square()
        return q + variance if layer.bias and self.init.bias is not None else q

    def _is_centred(self) -> bool:
        """True if the mean is 0, judged by the keys that shift a distribution: mean, val, and the ends a and b."""
        at = {key: self.values.get(key) or 0.0 for key in ("mean", "val", "a", "b")}
        return at["mean"] == 0 == at["val"] and at["a"] == -at["b"]  # type: ignore[operator]


@dataclass(frozen=True)
class _Moments:
    """The first and second moments of the units of a layer for each group of rows, [G]."""

    first: Tensor
    second: Tensor


def predicted_second_moments(layers: Layers, init: Spec, x: Tensor) -> list[float | None]:
    """The expected mean square of every linear layer's pre-activations over draws of the weights; None if it can't be predicted.

    Args:
        layers: the network.
        init: of its weights.
        x: the input rows, [N, D].
    """
    entry = init_named(init)
    values = resolve_gain(
        key_values(entry.function, init, what=mention("init")), str(activation_of(layers) or "identity")
    )
    found: list[Tensor] = []
    sizes = x.detach().cpu().double().square().mean(1).sort().values
    groups = torch.stack([group.mean() for group in sizes.tensor_split(min(_GROUPS, len(sizes)))])
    _propagate(layers, _Moments(torch.zeros_like(groups), groups), _Law(entry, values), found)
    return [None if math.isnan(moment) else moment for moment in (each.mean().item() for each in found)]


def _propagate(layers: Layers, moments: _Moments, law: _Law, found: list[Tensor]) -> _Moments:
    for layer in layers:
        moments = _propagate_layer(layer, moments, law, found)
    return moments


def _propagate_layer(layer: Layer, moments: _Moments, law: _Law, found: list[Tensor]) -> _Moments:
    match layer:
        case Linear():
            q = law.second_moment(layer, moments.second)
            found.append(q)
            return _normal_moments(q)
        case Activate(spec):
            return _activation_moments(spec, moments.second)
        case Norm("layer"):
            return _normal_moments(moments.second / (moments.second + NORM_EPSILON))
        case Norm():
            return _normal_moments(torch.full_like(moments.second, math.nan))
        case Dropout():
            return moments
        case Residual(inner):
            added = _propagate(inner, moments, law, found)
            second = moments.second + 2 * moments.first * added.first + added.second
            return _Moments(moments.first + added.first, second)
        case _:
            raise TypeError(f"no moments of {type(layer).__name__}; see passes.is_probed")


def _normal_moments(q: Tensor) -> _Moments:
    return _Moments(torch.zeros_like(q), q)


def _activation_moments(spec: Spec, q: Tensor) -> _Moments:
    """Moments of f(z), z ~ N(0, q)."""
    nodes, weights = _normal_rule()
    h = elementwise_activation(spec).function(q.sqrt().unsqueeze(1) * nodes)
    return _Moments(h @ weights, h.square() @ weights)


@cache
def _normal_rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights of E[g(u)], u ~ N(0, 1); exact up to rounding if g is smooth on either side of 0."""
    at, weights = np.polynomial.legendre.leggauss(_NODES)
    u = torch.from_numpy((at + 1) * _FARTHEST / 2)
    mass = torch.from_numpy(weights) * torch.exp(-0.5 * u.square())
    mass = mass / (2 * mass.sum())
    return torch.cat([-u, u]), torch.cat([mass, mass])
