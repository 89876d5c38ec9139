"""Models: a function from (the shape of a row, outputs) to the layers of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from nnlab.catalog.custom import is_custom
from nnlab.catalog.entry import find
from nnlab.core.errors import UsageError
from nnlab.core.kinds import Count, Flag, Fraction, Sizes, Word
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.attention import transformer
from nnlab.networks.layers import Activate, Dropout, Free, Layer, Layers, Linear, Norm, Residual
from nnlab.networks.own_models import own_layers
from nnlab.networks.recurrent import gru, lstm, rnn
from nnlab.networks.spatial_models import cnn_mnist1d, conv1d, conv2d, lenet

Row: TypeAlias = tuple[int, ...]  # the shape of a row: (features,), (channels, steps) or (channels, height, width)


@dataclass(frozen=True)
class Model:
    """A row of the table: `function(row, outputs, activation, **keys)` gives the layers.

    Attributes:
        is_module: they are one `nn.Module`, which starts as it is built.
        reconstructs: its outputs are the row's own features: it serves `--task reconstruction` alone.
    """

    function: Callable[..., Layers]
    source: str = ""
    is_module: bool = False
    reconstructs: bool = False


def linear(row: Row, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:  # noqa: ARG001
    """One layer of weights: scores = W x + b. With a softmax or sigmoid link: multinomial or logistic regression."""
    return (Linear(math.prod(row), outputs, bias),)


def mlp(
    row: Row,
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
    row: Row, outputs: int, activation: Spec, *, hidden: Sizes | None = None, code: Count = 8, bias: Flag = True
) -> Layers:
    """Encoder, code, decoder: D features to `code` numbers and back to D, by hidden layers on the way and their mirror image.

    The code and the outputs are linear. Without hidden layers all of it is: the best it can do is then the projection on the
    first `code` principal components (Baldi and Hornik 1989).

    Args:
        hidden: units of each hidden layer of the encoder; the decoder has them in reverse. None by default.
        code: units of the code.
    """
    widths = hidden or ()
    encoder = _dense(math.prod(row), widths, code, activation, bias)
    return (*encoder, *_dense(code, widths[::-1], outputs, activation, bias))


def _dense(before: int, widths: Sizes, outputs: int, activation: Spec, bias: bool) -> Layers:
    layers: list[Layer] = []
    for after in widths:
        layers += [Linear(before, after, bias), Activate(activation)]
        before = after
    return (*layers, Linear(before, outputs, bias))


def neuron(row: Row, outputs: int, activation: Spec, *, bias: Flag = True) -> Layers:
    """One unit a score: O = f(w x + b), the sum and the activation of the textbook."""
    return (Linear(math.prod(row), outputs, bias), Activate(activation))


def point(row: Row, outputs: int, activation: Spec) -> Layers:  # noqa: ARG001
    """The parameters themselves: every row has the scores theta. For landscapes (a loss that is any function of theta) and location."""
    return (Free(outputs),)


MODELS: Final[Mapping[str, Model]] = {
    "linear": Model(linear),
    "mlp": Model(
        mlp, source="Rumelhart, Hinton and Williams 1986; residual: He et al. 2016; dropout: Srivastava et al. 2014"
    ),
    "autoencoder": Model(
        autoencoder,
        source="Rumelhart, Hinton and Williams 1986; a linear code: Hinton and Salakhutdinov 2006",
        reconstructs=True,
    ),
    "neuron": Model(neuron, source="McCulloch and Pitts 1943; Rosenblatt 1958"),
    "point": Model(point),
    "conv1d": Model(conv1d, source="Waibel et al. 1989; group norm: Wu and He 2018"),
    "conv2d": Model(conv2d, source="LeCun et al. 1989; group norm: Wu and He 2018"),
    "lenet": Model(lenet, source="LeCun, Bottou, Bengio and Haffner 1998, section II.B"),
    "cnn_mnist1d": Model(cnn_mnist1d, source="Greydanus and Kobak 2020"),
    "rnn": Model(rnn, source="Elman 1990; both directions: Schuster and Paliwal 1997"),
    "gru": Model(gru, source="Cho et al. 2014, in PyTorch's form; both directions: Schuster and Paliwal 1997"),
    "lstm": Model(lstm, source="Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000"),
    "transformer": Model(transformer, source="Vaswani et al. 2017; norms before: Xiong et al. 2020", is_module=True),
}


def model_named(spec: Spec) -> Model:
    """The model that `spec` names: of the table, or a person's own `nn.Module`.

    Raises:
        UsageError: no such name, file or class.
    """
    if is_custom(spec.name):
        return Model(own_layers(spec.name), is_module=True)
    return find(MODELS, spec, what=mention("model"))
