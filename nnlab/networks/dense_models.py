"""Dense models, in which every unit sees the whole row, and the model without inputs."""

from __future__ import annotations

import math

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Count, Flag, Fraction, Sizes, Word
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual
from nnlab.networks.row_shapes import RowShape


def dense_layers(
    inputs: int, hidden: Sizes, outputs: int, activation: Spec, *, dropout: float = 0.0, bias: bool = True
) -> Layers:
    """Linear layers from `inputs` over the `hidden` widths to `outputs`, with an activation after each but the last."""
    layers: list[Layer] = []
    before = inputs
    for after in hidden:
        layers += [Linear(before, after, bias), Activate(activation)]
        if dropout > 0:
            layers.append(Dropout(dropout))
        before = after
    return (*layers, Linear(before, outputs, bias))


def linear(row: RowShape, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:  # noqa: ARG001
    """One layer of weights: scores = W x + b. With a softmax or sigmoid link: multinomial or logistic regression."""
    return (Linear(math.prod(row), outputs, bias),)


def mlp(
    row: RowShape,
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
        hidden: units of each hidden layer; or `width` and `depth`, for `depth` hidden layers of `width` units.
        residual: a hidden layer between equal widths adds its input to its output.
        dropout: probability with which a hidden unit is dropped in training.
        norm: `layer` or `batch` normalisation before each activation.
    """
    if norm not in (None, "layer", "batch"):
        raise UsageError(f"{mention('model', 'mlp:norm')} takes layer or batch, not {norm!r}.")
    layers: list[Layer] = []
    before = math.prod(row)
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
        raise UsageError(f"{mention('model', 'mlp')} takes hidden= or width= and depth=, not both.")
    if hidden is not None:
        return hidden
    return (100 if width is None else width,) * (2 if depth is None else depth)


def autoencoder(
    row: RowShape, outputs: int, activation: Spec, *, hidden: Sizes | None = None, code: Count = 8, bias: Flag = True
) -> Layers:
    """Encoder, code, decoder: D features to `code` numbers and back to D, through hidden layers and their mirror image.

    The code and the outputs are linear. Without hidden layers the whole model is linear: the best it can do is then the
    projection onto the first `code` principal components (Baldi and Hornik 1989).

    Args:
        hidden: units of each hidden layer of the encoder; the decoder has them in reverse. None by default.
        code: units of the code.
    """
    widths = hidden or ()
    encoder = dense_layers(math.prod(row), widths, code, activation, bias=bias)
    return (*encoder, *dense_layers(code, widths[::-1], outputs, activation, bias=bias))


def neuron(row: RowShape, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:
    """One unit per score: O = f(w x + b), the sum and the activation of the textbook."""
    return (Linear(math.prod(row), outputs, bias), Activate(activation))


def point(row: RowShape, outputs: int, activation: Spec) -> Layers:  # noqa: ARG001
    """The parameters themselves: every row has the scores theta. For landscapes (a loss that is any function of theta) and location."""
    return (Free(outputs),)
