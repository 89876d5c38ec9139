"""The scale of every layer's pre-activations, foretold from the law of the weights alone.

Given what enters a wide layer, a unit's pre-activation is normal over draws of weights that are centred on 0:

    z ~ N(0, q),    q = fan_in var(w) E[h^2] + var(b),    and then    E[h^k] = E[f(sqrt(q) u)^k],    u ~ N(0, 1)

Each row of the data has a q of its own (the rows of a digit differ in size, and a tanh answers to each size otherwise), so rows of
like size go through together. The expectation is a Gauss-Legendre rule on either side of 0, where most activations have their kink.

    layer norm   each row has mean 0 and variance q / (q + epsilon)
    residual     E[(h + t)^2] = E[h^2] + 2 E[h] E[t] + E[t^2]: the draws of the inner layer know nothing of its input's signs
    dropout      left out, as the probe leaves it out
    LSUV         its factor on the weights, as it follows from the q that they would have had
    batch norm   nothing is foretold behind it: it divides by the spread between rows, which second moments don't tell
    other means  nothing is foretold for weights that are not centred on 0 (constant, uniform between 0 and 1), zeros excepted

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
from nnlab.diagnostics.signals.passes import elementwise
from nnlab.networks.layers import NORM_EPSILON, Activate, Dropout, Layer, Layers, Linear, Norm, Residual, activation_of

_GROUPS: Final = 32  # of rows of like size
_NODES: Final = 48  # on either side of 0
_FARTHEST: Final = 10.0  # standard deviations


@dataclass(frozen=True)
class _Law:
    """Of the weights at the start: an init and its keys."""

    init: Init
    values: Mapping[str, Value | None]

    def second_moment(self, layer: Linear, entering: Tensor) -> Tensor:
        """q of each group; NaN where it can't be told."""
        if not self._is_centred():
            return torch.full_like(entering, math.nan)
        variance = self.init.variance((layer.outputs, layer.inputs), **self.values)
        q = layer.inputs * variance * entering
        if self.init.rescale is not None:
            q = q * self.init.rescale(q.mean().sqrt()).square()
        return q + variance if layer.bias and self.init.bias is not None else q

    def _is_centred(self) -> bool:
        """By the keys that move a law: mean, val, and the ends a and b."""
        at = {key: self.values.get(key) or 0.0 for key in ("mean", "val", "a", "b")}
        return at["mean"] == 0 == at["val"] and at["a"] == -at["b"]  # type: ignore[operator]


@dataclass(frozen=True)
class _Moments:
    """First and second moment of the units of a layer for each group of rows, [G]."""

    first: Tensor
    second: Tensor


def predicted_second_moments(layers: Layers, init: Spec, x: Tensor) -> list[float | None]:
    """What the mean square of every linear layer's pre-activations will be, as a mean over draws; None where it can't be told.

    Args:
        layers: the network.
        init: of its weights.
        x: the rows that will be put in, [N, D].
    """
    entry = init_named(init)
    values = resolve_gain(
        key_values(entry.function, init, what=mention("init")), str(activation_of(layers) or "identity")
    )
    found: list[Tensor] = []
    sizes = x.detach().cpu().double().square().mean(1).sort().values
    groups = torch.stack([group.mean() for group in sizes.tensor_split(min(_GROUPS, len(sizes)))])
    _through(layers, _Moments(torch.zeros_like(groups), groups), _Law(entry, values), found)
    return [None if math.isnan(moment) else moment for moment in (each.mean().item() for each in found)]


def _through(layers: Layers, moments: _Moments, law: _Law, found: list[Tensor]) -> _Moments:
    for layer in layers:
        moments = _through_layer(layer, moments, law, found)
    return moments


def _through_layer(layer: Layer, moments: _Moments, law: _Law, found: list[Tensor]) -> _Moments:
    match layer:
        case Linear():
            q = law.second_moment(layer, moments.second)
            found.append(q)
            return _normal(q)
        case Activate(spec):
            return _activated(spec, moments.second)
        case Norm("layer"):
            return _normal(moments.second / (moments.second + NORM_EPSILON))
        case Norm():
            return _normal(torch.full_like(moments.second, math.nan))
        case Dropout():
            return moments
        case Residual(inner):
            added = _through(inner, moments, law, found)
            second = moments.second + 2 * moments.first * added.first + added.second
            return _Moments(moments.first + added.first, second)
        case _:
            raise TypeError(f"no moments of {type(layer).__name__}; see passes.is_probed")


def _normal(q: Tensor) -> _Moments:
    return _Moments(torch.zeros_like(q), q)


def _activated(spec: Spec, q: Tensor) -> _Moments:
    """Moments of f(z), z ~ N(0, q)."""
    nodes, weights = _normal_rule()
    h = elementwise(spec).function(q.sqrt().unsqueeze(1) * nodes)
    return _Moments(h @ weights, h.square() @ weights)


@cache
def _normal_rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights of E[g(u)], u ~ N(0, 1); exact to rounding for a g that is smooth on either side of 0."""
    at, weights = np.polynomial.legendre.leggauss(_NODES)
    u = torch.from_numpy((at + 1) * _FARTHEST / 2)
    mass = torch.from_numpy(weights) * torch.exp(-0.5 * u.square())
    mass = mass / (2 * mass.sum())
    return torch.cat([-u, u]), torch.cat([mass, mass])
