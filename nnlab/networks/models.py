"""The table of models. A model is a function from (the shape of a row, outputs, activation) to the layers of a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from nnlab.catalog.custom import is_custom
from nnlab.catalog.entry import find
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.dense_models import autoencoder, linear, mlp, neuron, point
from nnlab.networks.layers import Layers
from nnlab.networks.own_models import own_model
from nnlab.networks.recurrent_models import gru, lstm, rnn
from nnlab.networks.spatial_models import cnn_mnist1d, conv1d, conv2d, lenet
from nnlab.networks.transformer import transformer


@dataclass(frozen=True)
class Model:
    """A row of the table: `function(row, outputs, activation, **keys)` returns the layers.

    Attributes:
        source: who proposed it.
        is_module: the layers are one `nn.Module`, which by default starts as its constructor makes it.
        reconstructs: its outputs are the row's own features: it serves the task `reconstruction` only.
    """

    function: Callable[..., Layers]
    source: str = ""
    is_module: bool = False
    reconstructs: bool = False


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
    """The model that `spec` names: a row of the table, or a person's own `nn.Module`.

    Raises:
        UsageError: no such name, file or class.
    """
    if is_custom(spec.name):
        return Model(own_model(spec.name), is_module=True)
    return find(MODELS, spec, what=mention("model"))
