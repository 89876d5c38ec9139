"""Layers: what networks are described by.

A network is described, not built: `native` turns the layers into kernels for many runs at once, `loop` into an
`nn.Module`, and the same description is stored with a trained model. Parameters are named as `nn.Sequential` names them.

What a layer takes and gives for one row is a plain sequence of features; where they have positions (the steps of a series, the pixels
of an image), it holds the channels one after another, each with all its positions, as PyTorch's flatten puts them.
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
    """One tensor that is trained.

    Attributes:
        name: as `nn.Sequential` would name it (`0.weight`).
        shape: without the run axis.
        law: who fills it at the start: the init's weight or bias law, ones or zeros (norms), or the constructor of the
            module that it belongs to.
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
        """Numbers that a forward pass keeps of its output for one row."""
        return 0

    @property
    def inside(self) -> Layers:
        """The layers that it is made of."""
        return ()

    @property
    def mixes_rows(self) -> bool:
        """While it is trained, what it gives for a row hangs on the other rows of the batch."""
        return False

    @property
    def draws(self) -> bool:
        """While it is trained, what it gives may be drawn at random."""
        return False

    @property
    def follows(self) -> Spec | None:
        """The activation that an init's `gain=auto` goes by, where it has one."""
        return None

    def parameters(self, name: str) -> Iterator[Parameter]:  # noqa: ARG002
        """Its trained tensors, given its own name."""
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
    """h = theta, whatever the row: the parameters themselves, [outputs]."""

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
    def follows(self) -> Spec:
        return self.activation


@dataclass(frozen=True)
class Norm(Layer):
    """(x - mean) / sqrt(var + 1e-5) * weight + bias.

    Over a row's features (layer), over a channel's positions in all rows of the batch (batch), or over a row's channels of one of
    `groups` groups, with their positions (group). Weight and bias are a channel's.
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
    """While training each unit is zero with probability p, else divided by 1 - p."""

    p: float

    @property
    def draws(self) -> bool:
        return True


@dataclass(frozen=True)
class Residual(Layer):
    """h = x + inner(x)."""

    inner: Layers

    @property
    def inside(self) -> Layers:
        return self.inner


def walk(layers: Layers, prefix: str = "") -> Iterator[tuple[str, Layer]]:
    """Every layer with its name, those inside others after what they are inside of."""
    for index, layer in enumerate(layers):
        name = f"{prefix}{index}"
        yield name, layer
        yield from walk(layer.inside, f"{name}.inner.")


def parameters(layers: Layers) -> Iterator[Parameter]:
    """The trained tensors of a network, in order from the input."""
    for name, layer in walk(layers):
        yield from layer.parameters(name)


def ignores_inputs(layers: Layers) -> bool:
    """Whether every row has the same scores, whatever is in it."""
    return any(isinstance(layer, Free) for layer in layers)


def has_batch_norm(layers: Layers) -> bool:
    """Whether a row's scores hang on the other rows of its batch."""
    return any(layer.mixes_rows for _, layer in walk(layers))


def is_random(layers: Layers) -> bool:
    """Whether the training loss is no property of the weights alone."""
    return any(layer.mixes_rows or layer.draws for _, layer in walk(layers))


def activation_of(layers: Layers) -> Spec | None:
    """The first activation of a network: what `gain=auto` follows."""
    return next((layer.follows for _, layer in walk(layers) if layer.follows is not None), None)
