"""Models: a function from (features, outputs) to the layers of a network.

A model is described, not built: `native` turns the layers into kernels for many runs at once, `loop` into an
`nn.Module`, and the same description is stored with a trained model. Parameters are named as `nn.Sequential` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Count, Flag, Fraction, Sizes, Word
from nnlab.core.spec import Spec


@dataclass(frozen=True)
class Linear:
    """h = W x + b, with W [outputs, inputs]."""

    inputs: int
    outputs: int
    bias: bool = True


@dataclass(frozen=True)
class Activate:
    """h = f(x), elementwise; `activation` names f in the catalogue."""

    activation: Spec


@dataclass(frozen=True)
class Norm:
    """(x - mean) / sqrt(var + 1e-5) * weight + bias: over a row's features (layer), or a feature's rows (batch)."""

    over: Literal["layer", "batch"]
    features: int


@dataclass(frozen=True)
class Dropout:
    """While training each unit is zero with probability p, else divided by 1 - p."""

    p: float


@dataclass(frozen=True)
class Residual:
    """h = x + inner(x)."""

    inner: tuple[Layer, ...]


Layer: TypeAlias = "Linear | Activate | Norm | Dropout | Residual"
Layers: TypeAlias = tuple[Layer, ...]


@dataclass(frozen=True)
class Parameter:
    """One tensor that is trained.

    Attributes:
        name: as `nn.Sequential` would name it (`0.weight`).
        shape: without the run axis.
        law: who fills it at the start: the init's weight or bias law, or ones or zeros (norms).
        weight_shape: of the weight it belongs to, whose fan-in a bias's law may need.
    """

    name: str
    shape: tuple[int, ...]
    law: Literal["weight", "bias", "ones", "zeros"]
    weight_shape: tuple[int, ...]


def parameters(layers: Layers, prefix: str = "") -> Iterator[Parameter]:
    """The trained tensors of a network, in order from the input."""
    for index, layer in enumerate(layers):
        name = f"{prefix}{index}"
        match layer:
            case Linear(inputs, outputs, bias):
                yield Parameter(f"{name}.weight", (outputs, inputs), "weight", (outputs, inputs))
                if bias:
                    yield Parameter(f"{name}.bias", (outputs,), "bias", (outputs, inputs))
            case Norm(_, features):
                yield Parameter(f"{name}.weight", (features,), "ones", (features,))
                yield Parameter(f"{name}.bias", (features,), "zeros", (features,))
            case Residual(inner):
                yield from parameters(inner, f"{name}.inner.")


@dataclass(frozen=True)
class Model:
    """A row of the table: `function(features, outputs, activation, **keys)` gives the layers."""

    function: Callable[..., Layers]
    source: str = ""


def linear(features: int, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:  # noqa: ARG001
    """One layer of weights: scores = W x + b. With a softmax or sigmoid link: multinomial or logistic regression."""
    return (Linear(features, outputs, bias),)


def mlp(
    features: int,
    outputs: int,
    activation: Spec,
    *,
    hidden: Sizes | None = None,
    width: Count | None = None,
    depth: Count | None = None,
    residual: Flag = False,
    dropout: Fraction = 0.0,
    norm: Word | None = None,
    bias: Flag = True,
) -> Layers:
    """Layers of units, each connected to every unit of the layer before: scores = W_L f(... f(W_1 x + b_1)) + b_L.

    Args:
        hidden: units of each hidden layer; or `width` and `depth`, that many hidden layers of that many units.
        residual: a hidden layer between equal widths adds its input to its output.
        dropout: probability with which a hidden unit is dropped while training.
        norm: `layer` or `batch` normalisation before each activation.
    """
    if norm not in (None, "layer", "batch"):
        raise UsageError(f"--model mlp:norm takes layer or batch, not {norm!r}.")
    layers: list[Layer] = []
    before = features
    for after in _widths(hidden, width, depth):
        block: list[Layer] = [Linear(before, after, bias)]
        if norm is not None:
            block.append(Norm("layer" if norm == "layer" else "batch", after))
        block.append(Activate(activation))
        if dropout > 0:
            block.append(Dropout(dropout))
        layers.extend([Residual(tuple(block))] if residual and layers and before == after else block)
        before = after
    return (*layers, Linear(before, outputs, bias))


def _widths(hidden: Sizes | None, width: int | None, depth: int | None) -> Sizes:
    if hidden is not None and (width is not None or depth is not None):
        raise UsageError("--model mlp takes hidden= or width= and depth=, not both.")
    if hidden is not None:
        return hidden
    return (100 if width is None else width,) * (2 if depth is None else depth)


def neuron(features: int, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:
    """One unit a score: O = f(w x + b), the sum and the activation of the textbook."""
    return (Linear(features, outputs, bias), Activate(activation))


MODELS: Final[Mapping[str, Model]] = {
    "linear": Model(linear),
    "mlp": Model(
        mlp, source="Rumelhart, Hinton and Williams 1986; residual: He et al. 2016; dropout: Srivastava et al. 2014"
    ),
    "neuron": Model(neuron, source="McCulloch and Pitts 1943; Rosenblatt 1958"),
}


def activation_of(layers: Layers) -> Spec | None:
    """The first activation of a network: what `gain=auto` follows."""
    for layer in layers:
        if isinstance(layer, Activate):
            return layer.activation
        if isinstance(layer, Residual) and (inner := activation_of(layer.inner)):
            return inner
    return None
