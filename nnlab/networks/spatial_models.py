"""Convolutional models: for series (channels, steps) and images (channels, height, width).

The keys of a model are the keyword-only parameters of its function, so conv1d and conv2d both list the keys that they share.
Their meaning is written once, in `ConvBlock`; a test holds the two lists equal.
"""

from __future__ import annotations

import math
from dataclasses import replace

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Count, Flag, Fraction, Sizes, Whole, Word
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention, spell_value
from nnlab.networks.dense_models import dense_layers
from nnlab.networks.layers import Layer, Layers, Linear
from nnlab.networks.row_shapes import RowShape, image_shape, series_shape
from nnlab.networks.spatial_blocks import ConvBlock

_LENET_LEAST = 16  # pixels a side, padding included, that leave one after two convolutions of 5 and two pools of 2


def conv1d(
    row: RowShape,
    outputs: int,
    activation: Spec,
    *,
    channels: Sizes = (16, 32),
    kernel: Count = 5,
    stride: Count = 1,
    padding: Whole = 2,
    pool: Word = "max",
    pool_size: Count = 2,
    norm: Word = "none",
    groups: Count = 1,
    residual: Flag = False,
    dropout: Fraction = 0.0,
    hidden: Sizes | None = None,
    bias: Flag = True,
) -> Layers:
    """Convolutions over the steps of a series, then dense layers: h = pool(f(norm(W * x + b))), ..., scores = W_L h + b_L.

    A row of features is a series of one channel.

    Args:
        channels: of each convolution's output, in order.
        kernel: steps that each convolution sees at a time; it moves by `stride` steps, over `padding` zeros at each end.
        pool: after every activation, max or mean over each window of `pool_size` steps; or none.
        norm: before every activation, batch (over a channel's steps in all rows) or group (over a row's channels in each of
            `groups` groups); or none.
        residual: a convolution whose output has the shape of its input adds the input to it.
        dropout: probability with which a unit is dropped, in training, after every activation.
        hidden: units of each dense layer between the convolutions and the scores.
    """
    block = ConvBlock(
        "conv1d",
        activation,
        kernel,
        stride=stride,
        padding=padding,
        pool=pool,
        pool_size=pool_size,
        norm=norm,
        groups=groups,
        residual=residual,
        dropout=dropout,
        bias=bias,
    )
    return block.network(series_shape(row, model="conv1d"), channels, hidden or (), outputs)


def conv2d(
    row: RowShape,
    outputs: int,
    activation: Spec,
    *,
    channels: Sizes = (8, 16),
    kernel: Count = 3,
    stride: Count = 1,
    padding: Whole = 1,
    pool: Word = "max",
    pool_size: Count = 2,
    norm: Word = "none",
    groups: Count = 1,
    residual: Flag = False,
    dropout: Fraction = 0.0,
    hidden: Sizes | None = None,
    bias: Flag = True,
) -> Layers:
    """Convolutions over the pixels of an image, then dense layers: h = pool(f(norm(W * x + b))), ..., scores = W_L h + b_L.

    Kernels, strides, padding and pools are square.

    Args:
        channels: of each convolution's output, in order.
        kernel: pixels a side that each convolution sees at a time; it moves by `stride` pixels, over `padding` zeros at each edge.
        pool: after every activation, max or mean over each square of `pool_size` pixels a side; or none.
        norm: before every activation, batch (over a channel's pixels in all rows) or group (over a row's channels in each of
            `groups` groups); or none.
        residual: a convolution whose output has the shape of its input adds the input to it.
        dropout: probability with which a unit is dropped, in training, after every activation.
        hidden: units of each dense layer between the convolutions and the scores.
    """
    block = ConvBlock(
        "conv2d",
        activation,
        kernel,
        stride=stride,
        padding=padding,
        pool=pool,
        pool_size=pool_size,
        norm=norm,
        groups=groups,
        residual=residual,
        dropout=dropout,
        bias=bias,
    )
    return block.network(image_shape(row, model="conv2d"), channels, hidden or (), outputs)


def lenet(row: RowShape, outputs: int, activation: Spec, *, padding: Whole | None = None) -> Layers:
    """LeNet-5: 5x5 convolutions to 6 and 16 channels, each with a mean pool of 2x2, then 120 and 84 units and the scores.

    In its common form: every channel sees all channels before it, pools have no weights, the last layer is linear. LeCun et al.
    used tanh activations (activation `tanh`).

    Args:
        padding: zeros at each edge of the image. By default 2, which makes 28x28 the paper's 32x32; more for an image of fewer than
            12 pixels a side, as much as it needs: 4 for 8x8.
    """
    image = image_shape(row, model="lenet")
    side = min(image[1:])
    needed = max(0, (_LENET_LEAST - side + 1) // 2)
    if padding is None:
        padding = max(2, needed)
    if padding < needed:
        raise UsageError(
            f"{mention('model', f'lenet:padding={padding}')}: an image of {spell_value(image[1:])} is too small for two"
            f" convolutions of 5x5 and two pools of 2x2. Take padding={needed} or more, or leave it out."
        )
    block = ConvBlock("lenet", activation, 5, padding=padding, pool="mean")
    first, between = block.layers(image, 6)
    second, last = replace(block, padding=0).layers(between, 16)
    return (*first, *second, *dense_layers(math.prod(last), (120, 84), outputs, activation))


def cnn_mnist1d(row: RowShape, outputs: int, activation: Spec) -> Layers:
    """The convolutional network of MNIST-1D: 25 channels, kernels of 5, 3 and 3, stride 2 and padding 1, then the scores.

    5210 parameters for 40 steps and 10 classes.
    """
    layers: list[Layer] = []
    before: RowShape = series_shape(row, model="cnn_mnist1d")
    for kernel in (5, 3, 3):
        found, before = ConvBlock("cnn_mnist1d", activation, kernel, stride=2, padding=1).layers(before, 25)
        layers += found
    return (*layers, Linear(math.prod(before), outputs))
