"""Layers as data: the description of a network.

A network is described, not built: the engine `native` turns the layers into kernels for many runs at once, the engine `loop`
into an `nn.Module`, and a trained model is stored with the settings that give the same description. Parameters are named as
`nn.Sequential` names them.

A layer's input and output for one row are a flat sequence of features. Where the features have positions (the steps of a
series, the pixels of an image), the channels come one after another, each with all its positions, in the order of PyTorch's
flatten.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from nnlab.core.spec import Spec

NORM_EPSILON: Final = 1e-5  # PyTorch's default, for all norms

Law: TypeAlias = Literal["weight", "bias", "ones", "zeros", "built"]


@dataclass(frozen=True)
class Parameter:
    """One trained tensor.

    Attributes:
        name: as `nn.Sequential` would name it (`0.weight`).
        shape: without the run axis.
        law: the source of its initial values: the init's law for weights or for biases, ones or zeros (norms), or the
            constructor of the module that it belongs to.
        weight_shape: of the weight it belongs to, whose fan-in a bias's law may need.
        torch_bound: b of PyTorch's own start U(-b, b), where it is not 1 / sqrt(fan_in) of the weight.
    """

    name: str
    shape: tuple[int, ...]
    law: Law
    weight_shape: tuple[int, ...]
    torch_bound: float | None = None


class Layer:
    """A part of a network; each kind is a frozen dataclass."""

    @property
    def units(self) -> int:
        """Number of values per row that a forward pass keeps for the backward pass."""
        return 0

    @property
    def sublayers(self) -> Layers:
        """The layers that it consists of, if it is made of layers."""
        return ()

    @property
    def mixes_rows(self) -> bool:
        """True if, in training, its output for a row depends on the other rows of the batch."""
        return False

    @property
    def draws(self) -> bool:
        """True if its output may be random in training."""
        return False

    @property
    def gain_activation(self) -> Spec | None:
        """The activation that an init's `gain=auto` follows; None if it has none."""
        return None

    def parameters(self, name: str) -> Iterator[Parameter]:  # noqa: ARG002
        """Its trained tensors, if the layer is called `name`."""
        yield from ()


Layers: TypeAlias = tuple[Layer, ...]


@dataclass(frozen=True)
class Linear(Layer):
    """h = W x + b, with W [outputs, inputs]."""

    inputs: int
    outputs: int
    bias: bool = True

    @property
    def units(self) -> int:
        return self.outputs

    def parameters(self, name: str) -> Iterator[Parameter]:
        shape = (self.outputs, self.inputs)
        yield Parameter(f"{name}.weight", shape, "weight", shape)
        if self.bias:
            yield Parameter(f"{name}.bias", (self.outputs,), "bias", shape)


@dataclass(frozen=True)
class Free(Layer):
    """h = theta for every row: the parameters themselves, [outputs]."""

    outputs: int

    @property
    def units(self) -> int:
        return self.outputs

    def parameters(self, name: str) -> Iterator[Parameter]:
        yield Parameter(f"{name}.weight", (self.outputs, 1), "weight", (self.outputs, 1))


@dataclass(frozen=True)
class Activate(Layer):
    """h = f(x), elementwise; `activation` names f in the catalogue."""

    activation: Spec

    @property
    def gain_activation(self) -> Spec:
        return self.activation


@dataclass(frozen=True)
class Norm(Layer):
    """(x - mean) / sqrt(var + 1e-5) * weight + bias.

    Mean and variance are over a row's features (layer), over a channel's positions in all rows of the batch (batch), or over
    a row's channels in each of `groups` groups, with their positions (group). Weight and bias are per channel.
    """

    over: Literal["layer", "batch", "group"]
    channels: int
    positions: int = 1
    groups: int = 1

    @property
    def mixes_rows(self) -> bool:
        return self.over == "batch"

    def parameters(self, name: str) -> Iterator[Parameter]:
        shape = (self.channels,)
        yield Parameter(f"{name}.weight", shape, "ones", shape)
        yield Parameter(f"{name}.bias", shape, "zeros", shape)


@dataclass(frozen=True)
class Dropout(Layer):
    """In training each unit is set to zero with probability p, else divided by 1 - p."""

    p: float

    @property
    def draws(self) -> bool:
        return True


@dataclass(frozen=True)
class Residual(Layer):
    """h = x + inner(x)."""

    inner: Layers

    @property
    def sublayers(self) -> Layers:
        return self.inner


def walk(layers: Layers, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer with its name; the sublayers of a layer come after it."""
    for index, layer in enumerate(layers):
        name = f"{prefix}{index}"
        yield name, layer
        yield from walk(layer.sublayers, f"{name}.inner.")


def parameters(layers: Layers) -> Iterator[Parameter]:
    """The trained tensors of a network, in order from the input."""
    for name, layer in walk(layers):
        yield from layer.parameters(name)


def ignores_inputs(layers: Layers) -> bool:
    """True if every row has the same scores, whatever its features."""
    return any(isinstance(layer, Free) for layer in layers)


def has_batch_norm(layers: Layers) -> bool:
    """True if a row's scores in training depend on the other rows of its batch."""
    return any(layer.mixes_rows for _, layer in walk(layers))


def is_random(layers: Layers) -> bool:
    """True if the training loss depends on more than the weights: on random draws, or on how rows are batched."""
    return any(layer.mixes_rows or layer.draws for _, layer in walk(layers))


def activation_of(layers: Layers) -> Spec | None:
    """The first activation of a network, which `gain=auto` follows; None if it has none."""
    return next((layer.gain_activation for _, layer in walk(layers) if layer.gain_activation is not None), None)
