"""Networks as PyTorch's own modules: the loop trains them, vmap batches them, and stored models are loaded into them.

Shapes: B rows of a batch, the first axis, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

from nnlab.engine.recurrent_modules import recurrent_module
from nnlab.networks.activation_module import ActivationModule
from nnlab.networks.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual
from nnlab.networks.module_layer import GLOBAL_GENERATORS, Module, build_module, is_dropout, module_facts
from nnlab.networks.recurrent_layer import Recurrent
from nnlab.networks.spatial_layers import Conv, Pool


class StreamedDropout(nn.Module):
    """Dropout with masks from the run's own stream, drawn [units, rows] as in the batched engine.

    With `whole_channels`, a unit is a channel (the second axis), dropped as a whole.
    """

    def __init__(self, p: float, generator: torch.Generator, *, whole_channels: bool = False) -> None:
        super().__init__()
        self.p, self.generator, self.whole_channels = p, generator, whole_channels

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        units = dropped_units(x.shape, whole_channels=self.whole_channels)
        drawn = torch.rand(math.prod(units), x.shape[0], generator=self.generator, dtype=torch.float64) >= self.p
        kept = drawn.T.to(x).reshape(-1, *units, *(1,) * (x.ndim - 1 - len(units)))
        return x * kept / (1 - self.p)


def dropped_units(shape: Sequence[int], *, whole_channels: bool) -> tuple[int, ...]:
    """The shape of a row's units, each dropped or kept as one, for rows of shape [B, ...]."""
    return tuple(shape[1:2] if whole_channels else shape[1:])


class Skip(nn.Module):
    """x + inner(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = x + self.inner(x)
        return h


class Constant(nn.Module):
    """The parameters themselves, for every row."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.T.expand(x.shape[0], -1)


def _norm(layer: Norm) -> nn.Module:
    if layer.over == "layer":
        return nn.LayerNorm(layer.channels)
    norm = nn.GroupNorm(layer.groups, layer.channels) if layer.over == "group" else nn.BatchNorm1d(layer.channels)
    return _at_positions(norm, (layer.channels, layer.positions)) if layer.positions > 1 else norm


def _conv(layer: Conv) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d)[len(layer.kernel) - 1]
    conv = kind(layer.inputs[0], layer.outputs, layer.kernel, layer.stride, layer.padding, bias=layer.bias)  # type: ignore[arg-type]
    return _at_positions(conv, layer.inputs)


def _pool(layer: Pool) -> nn.Module:
    kinds = (nn.MaxPool1d, nn.MaxPool2d) if layer.over == "max" else (nn.AvgPool1d, nn.AvgPool2d)
    return _at_positions(kinds[len(layer.kernel) - 1](layer.kernel, layer.stride), layer.inputs)  # type: ignore[arg-type]


def _at_positions(module: nn.Module, row: tuple[int, ...]) -> nn.Module:
    """The module, changed to take flat rows, view them in this shape, and give flat rows; its parameters keep their names."""
    module.register_forward_pre_hook(lambda _, x: (x[0].unflatten(1, row),))
    module.register_forward_hook(lambda _, __, h: h.flatten(1))
    return module


# For each kind of layer, PyTorch's module, given the run's dropout stream.
MODULES: Final[Mapping[type[Layer], Callable[[Any, torch.Generator], nn.Module]]] = {
    Linear: lambda layer, _: nn.Linear(layer.inputs, layer.outputs, layer.bias),
    Free: lambda layer, _: Constant(layer.outputs),
    Activate: lambda layer, _: ActivationModule(layer.activation),
    Norm: lambda layer, _: _norm(layer),
    Dropout: lambda layer, dropout: StreamedDropout(layer.p, dropout),
    Conv: lambda layer, _: _conv(layer),
    Pool: lambda layer, _: _pool(layer),
    Recurrent: lambda layer, _: recurrent_module(layer),
    Residual: lambda layer, dropout: Skip(module_of(layer.inner, dropout)),
}


def module_of(layers: Layers, dropout: torch.Generator) -> nn.Module:
    """The network as PyTorch's own modules; its parameters have the names that `layers` gives them."""
    match layers:
        case (Module() as layer,):
            return own_module(layer, 0, dropout)
    # PyTorch's constructors draw weights, which are replaced; that must not move the generator that the caller draws from.
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[]):
        return nn.Sequential(*(MODULES[type(layer)](layer, dropout) for layer in layers))


def own_module(layer: Module, seed: int, dropout: torch.Generator) -> nn.Module:
    """The module built under `seed`, with dropout masks from the run's own stream."""

    def streamed_dropout(part: nn.Module) -> nn.Module:
        return StreamedDropout(float(part.p), dropout, whole_channels=type(part) is not nn.Dropout)  # type: ignore[arg-type]

    return replace_parts(build_module(layer, seed), is_dropout, streamed_dropout)


def replace_parts(
    module: nn.Module, is_meant: Callable[[nn.Module], bool], replacement: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """The same module, changed in place: every part that is meant gives way to its replacement."""
    for name, part in list(module.named_modules(remove_duplicate=False)):
        if name and is_meant(part):
            above, _, own = name.rpartition(".")
            setattr(module.get_submodule(above), own, replacement(part))
    return module


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor of the module: its parameters and its buffers, also those that are left out of a state dict."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def load_tensors(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Copy these values into the module's own tensors, in place; its other tensors stay as they are."""
    own = tensors_of(module)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


class OwnDraws:
    """The global generators as one run sees them: its draws depend on its seed, never on other draws."""

    def __init__(self, seed: int, device: torch.device) -> None:
        """
        Args:
            seed: to start from.
            device: its generator is taken as well as the CPU's.
        """
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        self.states = [torch.Generator(each.device).manual_seed(seed).get_state() for each in self.generators]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Context manager: the generators are in this run's state; afterwards in their own again."""
        with GLOBAL_GENERATORS:
            before = [each.get_state() for each in self.generators]
            self._set_states(self.states)
            try:
                yield
            finally:
                self.states = [each.get_state() for each in self.generators]
                self._set_states(before)

    def _set_states(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


def draws_globally(layers: Layers) -> bool:
    """True if a forward pass through the network draws from PyTorch's global generator."""
    return any(isinstance(layer, Module) and module_facts(layer).draws_globally for layer in layers)
