"""Recurrent models: what layers a row of data becomes, and what is refused."""

from __future__ import annotations

import inspect
import math

import pytest

from nnlab.catalog.entry import keys
from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec
from nnlab.networks.layers import Dropout, Linear, parameters
from nnlab.networks.models import MODELS
from nnlab.networks.recurrent_layer import Recurrent
from nnlab.networks.recurrent_models import gru, lstm, rnn

RELU = Spec("relu")


def num_weights(layers) -> int:
    return sum(math.prod(each.shape) for each in parameters(layers))


def test_the_bidirectional_gru_of_mnist1d_has_the_published_number_of_parameters():
    """Greydanus and Kobak 2020: GRU of 6 units in both directions, 480 states to 10 scores."""
    layers = gru((40,), 10, RELU, hidden=6, bidirectional=True)
    assert layers[-1] == Linear(480, 10)
    assert num_weights(layers) == 5134


@pytest.mark.parametrize(("model", "gates"), [(rnn, 1), (gru, 3), (lstm, 4)])
def test_parameters_are_counted_as_by_the_formula(model, gates):
    """gates H (C + H + 2) a layer, and the scores."""
    layers = model((3, 20), 2, RELU, hidden=7, layers=2)
    assert num_weights(layers) == gates * 7 * (3 + 7 + 2) + gates * 7 * (7 + 7 + 2) + (20 * 7 + 1) * 2


def test_a_row_of_features_is_a_series_of_one_input():
    (layer, _) = lstm((9,), 1, RELU)
    assert (layer.inputs, layer.steps) == (1, 9)


def test_channels_are_the_inputs_of_a_step():
    (layer, _) = lstm((4, 9), 1, RELU)
    assert (layer.inputs, layer.steps, layer.channels_first) == (4, 9, True)


def test_layers_above_the_first_read_states_step_by_step():
    first, second, scores = gru((4, 9), 3, RELU, hidden=5, layers=2, bidirectional=True)
    assert second == Recurrent("gru", 10, 5, 9, bidirectional=True, channels_first=False)
    assert (first.outputs, scores) == (90, Linear(90, 3))


def test_reading_the_last_states_only_leaves_the_layers_below_whole():
    first, second, scores = gru((9,), 3, RELU, hidden=5, layers=2, bidirectional=True, read="last")
    assert (first.read, second.read, scores) == ("all", "last", Linear(10, 3))


def test_dropout_follows_every_layer():
    layers = rnn((9,), 3, RELU, layers=2, dropout=0.2)
    assert [type(layer) for layer in layers] == [Recurrent, Dropout, Recurrent, Dropout, Linear]


def test_the_nonlinearity_of_rnn_is_pytorchs_key():
    assert rnn((9,), 3, RELU)[0].kind == "rnn_tanh"
    assert rnn((9,), 3, RELU, nonlinearity="relu")[0].kind == "rnn_relu"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"read": "first"}, "model rnn:read takes all or last, not 'first'."),
        ({"nonlinearity": "gelu"}, "model rnn:nonlinearity takes tanh or relu, not 'gelu'."),
    ],
)
def test_words_that_are_not_a_choice_are_refused(given, message):
    with pytest.raises(UsageError) as error:
        rnn((9,), 3, RELU, **given)
    assert str(error.value) == message


def test_an_image_is_not_a_series():
    with pytest.raises(
        UsageError,
        match=r"model gru reads series, .* a row of these data has shape 1x8x8; conv2d and lenet take images",
    ):
        gru((1, 8, 8), 10, RELU)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_the_source_of_each_model_is_told(name):
    assert MODELS[name].source


def test_the_keys_that_recurrent_models_share_have_the_same_defaults_and_words():
    assert keys(gru) == keys(lstm)
    assert list(keys(rnn).items())[:-1] == list(keys(gru).items())
    words = [inspect.getdoc(model).partition("Args:")[2].strip() for model in (gru, lstm, rnn)]
    assert words[0] == words[1]
    assert words[2].startswith(words[0])
