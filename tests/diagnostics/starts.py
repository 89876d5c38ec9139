"""Networks at their start, many draws at once, and the same ones as PyTorch modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from nnlab.catalog.activations import activation_named
from nnlab.catalog.entry import key_values
from nnlab.catalog.inits import init_named, resolve_gain
from nnlab.core.rng import stream
from nnlab.core.spec import parse_spec
from nnlab.networks.layers import Activate, Dropout, Layer, Layers, Linear, Norm, Residual, activation_of, parameters


def drawn(layers: Layers, init: str, seeds: Iterable[int]) -> dict[str, Tensor]:
    """Starting weights by name, [R, *shape] float64, a run for each seed; LSUV's without its look at the data."""
    spec = parse_spec(init, what="--init")
    entry = init_named(spec)
    values = resolve_gain(key_values(entry.function, spec, what="--init"), str(activation_of(layers) or "identity"))
    starts: dict[str, list[Tensor]] = {parameter.name: [] for parameter in parameters(layers)}
    for seed in seeds:
        generator = stream(seed, "init")
        for parameter in parameters(layers):
            if parameter.law == "weight":
                start = entry.function(parameter.shape, generator=generator, **values)
            elif parameter.law == "bias" and entry.bias is not None:
                start = entry.bias(parameter.weight_shape, generator)
            else:
                start = torch.full(parameter.shape, float(parameter.law == "ones"), dtype=torch.float64)
            starts[parameter.name].append(start)
    return {name: torch.stack(values) for name, values in starts.items()}


class _Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(x)


def module(layers: Layers, weights: Mapping[str, Tensor], run: int) -> nn.Sequential:
    """One run's network in training mode, in float64; dropout stands in it but lets everything through."""
    net = nn.Sequential(*(_module(layer) for layer in layers)).double()
    own = {name: values[run] for name, values in weights.items()}
    missing, unexpected = net.load_state_dict(own, strict=False)
    assert not unexpected
    assert all("running" in name or "tracked" in name for name in missing)
    return net


def _module(layer: Layer) -> nn.Module:
    match layer:
        case Linear(inputs, outputs, bias):
            return nn.Linear(inputs, outputs, bias)
        case Activate(spec):
            entry = activation_named(spec)
            assert entry.torch_class is not None
            return getattr(nn, entry.torch_class)(**key_values(entry.function, spec, what="--activation"))
        case Norm("layer", features):
            return nn.LayerNorm(features)
        case Norm(_, features):
            return nn.BatchNorm1d(features)
        case Dropout():
            return nn.Dropout(0.0)
        case Residual(inner):
            return _Residual(nn.Sequential(*(_module(each) for each in inner)))
