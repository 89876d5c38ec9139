"""Networks as PyTorch's own modules: what the loop trains, what vmap batches, and what a stored model is loaded into.

Shapes: B rows of a batch, first, as PyTorch has it.
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
    """Dropout whose masks come from the run's own stream, drawn [units, rows] as the batched engine draws them.

    With `whole_channels` a unit is a channel (the second axis), and all of it is dropped.
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
    """The shape of what is dropped one by one of a row, of rows of this shape [B, ...]."""
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
    """The module given rows of this shape and giving them flat again, its parameters named as ever."""
    module.register_forward_pre_hook(lambda _, x: (x[0].unflatten(1, row),))
    module.register_forward_hook(lambda _, __, h: h.flatten(1))
    return module


# How each kind of layer is written in PyTorch, given the run's dropout stream.
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
    """The network as PyTorch's own modules; its parameters have the names that the description gives them."""
    match layers:
        case (Module() as layer,):
            return own_module(layer, 0, dropout)
    # PyTorch's modules draw weights as they are made, which are replaced: the caller's own draws must not hang on that.
    with GLOBAL_GENERATORS, torch.random.fork_rng(devices=[]):
        return nn.Sequential(*(MODULES[type(layer)](layer, dropout) for layer in layers))


def own_module(layer: Module, seed: int, dropout: torch.Generator) -> nn.Module:
    """The module as it is built under `seed`, its masks drawn from the run's own stream."""

    def streamed(part: nn.Module) -> nn.Module:
        return StreamedDropout(float(part.p), dropout, whole_channels=type(part) is not nn.Dropout)  # type: ignore[arg-type]

    return with_parts_changed(build_module(layer, seed), is_dropout, streamed)


def with_parts_changed(
    module: nn.Module, concerns: Callable[[nn.Module], bool], change: Callable[[nn.Module], nn.Module]
) -> nn.Module:
    """The same module, with every part that is concerned replaced by what it is changed to."""
    for name, part in list(module.named_modules(remove_duplicate=False)):
        if name and concerns(part):
            above, _, own = name.rpartition(".")
            setattr(module.get_submodule(above), own, change(part))
    return module


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every tensor that makes the module what it is: its parameters, and buffers, also those that no state dict has."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def load_tensors(module: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Put these values into the module's own tensors, in place; the others stay as they are."""
    own = tensors_of(module)
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


class OwnDraws:
    """The global generators as one run has them: what it draws hangs on its seed, never on what others draw."""

    def __init__(self, seed: int, device: torch.device) -> None:
        """
        Args:
            seed: that they start from.
            device: whose generator is meant besides the CPU's.
        """
        self.generators = [torch.default_generator]
        if device.type == "cuda":
            self.generators.append(torch.cuda.default_generators[device.index or 0])
        self.states = [torch.Generator(each.device).manual_seed(seed).get_state() for each in self.generators]

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within, this run's; afterwards they are as they were."""
        with GLOBAL_GENERATORS:
            before = [each.get_state() for each in self.generators]
            self._put(self.states)
            try:
                yield
            finally:
                self.states = [each.get_state() for each in self.generators]
                self._put(before)

    def _put(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state)


def draws_globally(layers: Layers) -> bool:
    """Whether a forward pass through the network draws from PyTorch's global generator."""
    return any(isinstance(layer, Module) and module_facts(layer).draws_globally for layer in layers)
