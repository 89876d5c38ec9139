"""Convolutional models: their layers, their sizes, and what is said of rows that they can't take."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from nnlab.catalog.entry import key_values, keys
from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec, parse_spec
from nnlab.engine.modules import module_of
from nnlab.networks.layers import Activate, Linear, Norm, Residual, parameters, walk
from nnlab.networks.models import MODELS
from nnlab.networks.spatial_layers import Conv, Pool

RELU = Spec("relu")


def layers_of(text: str, row: tuple[int, ...], outputs: int = 10):
    spec = parse_spec(text, what="--model")
    function = MODELS[spec.name].function
    return function(row, outputs, RELU, **key_values(function, spec, what="--model"))


def kinds(text: str, row: tuple[int, ...]) -> list[type]:
    return [type(layer) for layer in layers_of(text, row)]


def num_parameters(text: str, row: tuple[int, ...]) -> int:
    return sum(math.prod(parameter.shape) for parameter in parameters(layers_of(text, row)))


def test_the_network_of_mnist1d_is_the_published_one():
    """Greydanus and Kobak 2020: 5210 parameters."""
    published = nn.Sequential(
        *(nn.Conv1d(1, 25, 5, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv1d(25, 25, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv1d(25, 25, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(125, 10)),
    )
    assert num_parameters("cnn_mnist1d", (40,)) == sum(p.numel() for p in published.parameters()) == 5210
    own = module_of(layers_of("cnn_mnist1d", (40,)), torch.Generator())
    assert [tuple(p.shape) for p in own.parameters()] == [tuple(p.shape) for p in published.parameters()]
    for mine, theirs in zip(own.parameters(), published.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    x = torch.randn(7, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(own(x), published(x[:, None]))


def test_lenet_has_the_61706_parameters_of_its_common_form_and_takes_small_images():
    """156 + 2416 of the convolutions, 48120 + 10164 + 850 behind them."""
    assert num_parameters("lenet", (1, 28, 28)) == 61706
    assert num_parameters("lenet", (1, 8, 8)) == 61706 - 120 * (400 - 16)
    assert [layer.positions for layer in layers_of("lenet", (1, 28, 28)) if isinstance(layer, Conv | Pool)] == [
        *((28, 28), (14, 14)),
        *((10, 10), (5, 5)),
    ]


@pytest.mark.parametrize("side", range(1, 40))
def test_lenet_finds_the_least_padding_that_leaves_a_position_for_the_connected_layers(side):
    first = layers_of("lenet", (3, side, side + 5))[0]
    assert isinstance(first, Conv)
    padding = first.padding[0]
    assert padding >= 2
    if padding > 2:
        with pytest.raises(UsageError, match=f"Take padding={padding} or more"):
            layers_of(f"lenet:padding={padding - 1}", (3, side, side + 5))


def test_a_block_is_a_convolution_then_norm_activation_dropout_and_pool():
    assert kinds("conv1d:channels=4:norm=group:groups=2", (40,)) == [Conv, Norm, Activate, Pool, Linear]
    assert kinds("conv1d:channels=4:pool=none:hidden=5", (40,)) == [Conv, Activate, Linear, Activate, Linear]
    layers = layers_of("conv2d:channels=4x4x5:residual=true", (3, 16, 16))
    assert [type(layer) for layer in layers] == [Conv, Activate, Pool, Residual, Pool, Conv, Activate, Pool, Linear]


def test_a_row_of_features_is_a_series_of_one_channel():
    assert layers_of("conv1d", (40,)) == layers_of("conv1d", (1, 40))
    assert layers_of("conv1d", (3, 40))[0] == Conv((3, 40), 16, (5,), (1,), (2,))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("conv1d:channels=3x5:kernel=4:stride=2:padding=3:pool=mean:pool_size=3", (2, 31)),
        ("conv2d:channels=3x5:kernel=2:stride=1:padding=1:pool=max:norm=batch", (2, 9, 12)),
        ("lenet", (1, 28, 28)),
    ],
)
def test_what_a_layer_says_it_gives_is_what_pytorch_gives(text, row):
    layers = layers_of(text, row)
    x = torch.zeros(2, math.prod(row))
    for layer, module in zip(layers, module_of(layers, torch.Generator()), strict=True):
        x = module(x)
        if isinstance(layer, Conv):
            assert x.shape[1] == layer.outputs * math.prod(layer.positions)
        if isinstance(layer, Pool):
            assert x.shape[1] == layer.inputs[0] * math.prod(layer.positions)


def test_names_and_shapes_of_parameters_are_pytorchs():
    layers = layers_of("conv2d:channels=4:norm=batch", (3, 8, 8))
    module = module_of(layers, torch.Generator())
    assert {p.name: p.shape for p in parameters(layers)} == {n: tuple(p.shape) for n, p in module.named_parameters()}
    assert [name for name, _ in walk(layers)] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("text", "row", "said"),
    [
        ("conv2d", (64,), "has shape 64. data digits:image=true and data mnist5k have images"),
        ("lenet", (3, 20), "has shape 3x20"),
        ("conv1d", (1, 8, 8), "has shape 1x8x8; conv2d and lenet take images"),
        ("cnn_mnist1d", (1, 8, 8), "conv2d and lenet take images"),
        ("conv1d:kernel=9:padding=0", (7,), "a kernel of 9 does not fit on 7 steps with padding 0"),
        ("conv2d:kernel=9:padding=0", (1, 8, 8), "a kernel of 9x9 does not fit on 8x8 pixels with padding 0"),
        ("conv1d:channels=2x2x2x2x2x2", (40,), "a pool of 2 does not fit on 1 steps"),
        ("conv1d:pool=avg", (40,), "pool takes max, mean or none, not 'avg'"),
        ("conv1d:norm=layer", (40,), "not 'layer'. Layer norm is norm=group with groups=1"),
        ("conv1d:norm=batch:groups=2", (40,), "groups=2 goes with norm=group"),
        ("conv1d:norm=group:groups=3", (40,), "can't divide 16 channels"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_was_given_and_what_would(text, row, said):
    with pytest.raises(UsageError, match=said):
        layers_of(text, row)


def test_the_keys_that_conv1d_and_conv2d_share_are_the_same_but_for_the_defaults_of_three():
    series, images = (keys(MODELS[name].function) for name in ("conv1d", "conv2d"))
    assert list(series) == list(images)
    different = [name for name in series if series[name] != images[name]]
    assert different == ["channels", "kernel", "padding"]
    assert [series[name].kind for name in different] == [images[name].kind for name in different]
