"""The weights that a run starts from: a pure function of its seed, its init, its network and, for LSUV, its data.

Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import configured
from nnlab.catalog.inits import Init, init_named, resolve_gain
from nnlab.catalog.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual, parameters
from nnlab.core.errors import UsageError
from nnlab.core.records import Run
from nnlab.core.rng import stream
from nnlab.engine.plan import Program, gain_activation

_MOST_ROWS = 1000  # that a data-dependent init looks at

Weights = dict[str, Tensor]


def starting_weights(program: Program, run: Run, x_ND: Tensor) -> Weights:
    """The starting parameters of one run, float64 on the CPU.

    Args:
        program: the network.
        run: its seed and init.
        x_ND: the training part's inputs, which only a data-dependent init looks at.
    """
    entry = init_named(run.settings.init)
    weights = _drawn(program, run, entry)
    if entry.rescale is not None:
        # A copy of its own: a product's last bit may hang on where in a tile's data the rows lie.
        x_ND = x_ND[:_MOST_ROWS].to("cpu", torch.float64, copy=True)
        _through(program.layers, x_ND, weights, "", entry.rescale)
    return weights


def _drawn(program: Program, run: Run, entry: Init) -> Weights:
    """Parameters drawn from the seed's init stream, in the network's order."""
    values = configured(entry.function, run.settings.init, what="--init")
    values = resolve_gain(values, gain_activation(program.layers))
    generator = stream(run.seed, "init")
    drawn: Weights = {}
    # All weights before all biases: an init that draws its biases then starts from the same weights' draws as one that does not.
    for parameter in sorted(parameters(program.layers), key=lambda parameter: parameter.law == "bias"):
        match parameter.law:
            case "weight":
                drawn[parameter.name] = entry.function(parameter.shape, generator=generator, **values)
            case "bias" if entry.bias is not None:
                drawn[parameter.name] = entry.bias(parameter.weight_shape, generator)
            case "ones":
                drawn[parameter.name] = torch.ones(parameter.shape, dtype=torch.float64)
            case _:
                drawn[parameter.name] = torch.zeros(parameter.shape, dtype=torch.float64)
    return {parameter.name: drawn[parameter.name] for parameter in parameters(program.layers)}


def _through(layers: Layers, x: Tensor, weights: Weights, prefix: str, rescale: Callable[[Tensor], Tensor]) -> Tensor:
    """Pass rows through the layers, rescaling each weight in place by what its own output measures."""
    for index, layer in enumerate(layers):
        x = _through_layer(layer, x, weights, f"{prefix}{index}", rescale)
    return x


def _through_layer(layer: Layer, x: Tensor, weights: Weights, name: str, rescale: Callable[[Tensor], Tensor]) -> Tensor:
    match layer:
        case Linear():
            weight = weights[f"{name}.weight"]
            weight *= rescale((x @ weight.T).std())
            return F.linear(x, weight, weights.get(f"{name}.bias"))
        case Free():
            return weights[f"{name}.weight"].T.expand(len(x), -1)
        case Activate(activation):
            entry = activation_named(activation)
            h: Tensor = entry.function(x, **configured(entry.function, activation, what="--activation"))
            return h
        case Norm("layer", features):
            return F.layer_norm(x, (features,))
        case Norm():
            return F.batch_norm(x, None, None, training=True)
        case Dropout():
            return x
        case Residual(inner):
            return x + _through(inner, x, weights, f"{name}.inner.", rescale)
        case _:
            raise UsageError(
                f"--init lsuv measures what layers of weights give, and has no rule for {type(layer).__name__}."
            )
