"""The starting weights of a run: a pure function of its seed, its init, its network and, for LSUV, its data.

Shapes: N rows, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.catalog.inits import Init, fans, init_named, resolve_gain, torch_default
from nnlab.core.errors import UsageError
from nnlab.core.rng import stream, stream_seed
from nnlab.core.spelling import mention
from nnlab.engine.modules import MODULES, module_of, own_module, tensors_of
from nnlab.engine.program import Program
from nnlab.networks.layers import (
    Activate,
    Dropout,
    Free,
    Layer,
    Layers,
    Linear,
    Norm,
    Parameter,
    Residual,
    activation_of,
    parameters,
)
from nnlab.networks.module_layer import Module, global_seed
from nnlab.networks.spatial_layers import Conv, Pool
from nnlab.settings.run_records import Run

_MOST_ROWS = 1000  # that a data-dependent init measures

NamedTensors = dict[str, Tensor]


def starting_weights(program: Program, run: Run, x_ND: Tensor) -> NamedTensors:
    """The starting parameters of one run, float64 on the CPU; for an `nn.Module` also its other tensors, as built.

    Args:
        program: the network.
        run: its seed and init.
        x_ND: the training part's inputs, for a data-dependent init.
    """
    entry = init_named(run.settings.init)
    as_built = _tensors_as_built(program.layers, run.seed) if entry.built or _is_module(program.layers) else {}
    weights = as_built if entry.built else _draw(program, run, entry, as_built)
    if entry.rescale is not None:
        # A copy: a product's last bit may depend on where in a tile's data the rows lie.
        x_ND = x_ND[:_MOST_ROWS].to("cpu", torch.float64, copy=True)
        _pass_through(program.layers, x_ND, weights, "", entry.rescale)
    return weights


def _is_module(layers: Layers) -> bool:
    return any(isinstance(layer, Module) for layer in layers)


def _tensors_as_built(layers: Layers, seed: int) -> NamedTensors:
    """The tensors of PyTorch's own modules, built by constructors that draw from the seed's init stream; parameters first."""
    init = stream_seed(seed, "init")
    match layers:
        case (Module() as layer,):
            tensors = tensors_of(own_module(layer, init, torch.default_generator))
        case _:
            with global_seed(init):
                tensors = dict(module_of(layers, torch.default_generator).named_parameters())
    exact = {name: value.detach().double() if value.is_floating_point() else value for name, value in tensors.items()}
    trained = [parameter.name for parameter in parameters(layers)]
    return {name: exact[name] for name in dict.fromkeys([*trained, *exact])}


def _draw(program: Program, run: Run, entry: Init, as_built: NamedTensors) -> NamedTensors:
    """Draw the parameters from the seed's init stream, in the network's order; the other tensors are as built."""
    values = key_values(entry.function, run.settings.init, what=mention("init"))
    # The activation that `gain=auto` follows.
    activation = activation_of(program.layers)
    values = resolve_gain(values, "identity" if activation is None else str(activation))
    generator = stream(run.seed, "init")
    drawn: NamedTensors = {}
    # All weights before all biases: so inits that draw biases and inits that don't start from the same draws for the weights.
    for parameter in sorted(parameters(program.layers), key=lambda parameter: parameter.law == "bias"):
        match parameter.law:
            case "weight":
                weight = entry.function(parameter.shape, generator=generator, **values)
                drawn[parameter.name] = weight * _bound_factor(parameter, entry)
            case "bias" if entry.bias is not None:
                drawn[parameter.name] = entry.bias(parameter.weight_shape, generator) * _bound_factor(parameter, entry)
            case "ones":
                drawn[parameter.name] = torch.ones(parameter.shape, dtype=torch.float64)
            case "built":
                drawn[parameter.name] = as_built[parameter.name]
            case _:
                drawn[parameter.name] = torch.zeros(parameter.shape, dtype=torch.float64)
    return {parameter.name: drawn[parameter.name] for parameter in parameters(program.layers)} | {
        name: value for name, value in as_built.items() if name not in drawn
    }


def _bound_factor(parameter: Parameter, entry: Init) -> float:
    """The factor that gives PyTorch's default law its bound in recurrent layers, where it is not 1 / sqrt(fan_in); else 1."""
    if parameter.torch_bound is None or entry.function is not torch_default:
        return 1.0
    return parameter.torch_bound * math.sqrt(fans(parameter.weight_shape)[0])


def _pass_through(
    layers: Layers, x: Tensor, weights: NamedTensors, prefix: str, rescale: Callable[[Tensor], Tensor]
) -> Tensor:
    """Pass rows through the layers; rescale each weight in place by the standard deviation of its own output. Return the output."""
    for index, layer in enumerate(layers):
        x = _pass_through_layer(layer, x, weights, f"{prefix}{index}", rescale)
    return x


def _pass_through_layer(
    layer: Layer, x: Tensor, weights: NamedTensors, name: str, rescale: Callable[[Tensor], Tensor]
) -> Tensor:
    match layer:
        case Linear():
            weight = weights[f"{name}.weight"]
            weight *= rescale((x @ weight.T).std())
            return F.linear(x, weight, weights.get(f"{name}.bias"))
        case Free():
            return weights[f"{name}.weight"].T.expand(len(x), -1)
        case Activate(activation):
            entry = activation_named(activation)
            h: Tensor = entry.function(x, **key_values(entry.function, activation, what=mention("activation")))
            return h
        case Conv(inputs, stride=stride, padding=padding):
            weight, convolved = weights[f"{name}.weight"], (F.conv1d, F.conv2d)[len(stride) - 1]
            rows = x.reshape(len(x), *inputs)
            weight *= rescale(convolved(rows, weight, stride=stride, padding=padding).std())
            return convolved(rows, weight, weights.get(f"{name}.bias"), stride, padding).flatten(1)
        case Pool() | Norm():
            module = MODULES[type(layer)](layer, torch.default_generator).double()
            return module(x)  # type: ignore[no-any-return]
        case Dropout():
            return x
        case Residual(inner):
            return x + _pass_through(inner, x, weights, f"{name}.inner.", rescale)
        case _:
            raise UsageError(
                f"{mention('init', 'lsuv')} measures the outputs of layers with weights, and has no rule for {type(layer).__name__}."
            )
