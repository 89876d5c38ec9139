"""Convolutional networks: for series (channels, steps) and images (channels, height, width)."""

from __future__ import annotations

import math
from dataclasses import replace

from nnlab.core.errors import UsageError
from nnlab.core.kinds import Count, Flag, Fraction, Sizes, Whole, Word
from nnlab.core.spec import Spec
from nnlab.core.spelling import mention
from nnlab.networks.layers import Layer, Layers, Linear
from nnlab.networks.spatial_blocks import Block, Row, connected, sides

_LENET_LEAST = 16  # pixels, padding included, that leave one after two convolutions of 5 and two pools of 2


def conv1d(
    row: Row,
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
    """Convolutions over the steps of a series, then connected layers: h = pool(f(norm(W * x + b))), ..., scores = W_L h + b_L.

    A row of features is a series of one channel.

    Args:
        channels: of each convolution's output, in order.
        kernel: steps that a weight looks at; also stride, and padding zeros on each side, of every convolution.
        pool: max or mean over each window of `pool_size` steps, after every activation; or none.
        norm: batch (over a channel's steps in all rows) or group (over a row's channels of one of `groups` groups), before every
            activation; or none.
        residual: a convolution that gives what shape it takes adds its input to its output.
        dropout: probability with which a unit behind an activation is dropped while training.
        hidden: units of each connected layer between the convolutions and the scores.
    """
    block = Block(
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
    return block.network(_series(row, "conv1d"), channels, hidden or (), outputs)


def conv2d(
    row: Row,
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
    """Convolutions over the pixels of an image, then connected layers: h = pool(f(norm(W * x + b))), ..., scores = W_L h + b_L.

    Kernels, strides, padding and pools are square.

    Args:
        channels: of each convolution's output, in order.
        kernel: pixels along each side that a weight looks at; also stride, and padding zeros on each side, of every convolution.
        pool: max or mean over each square of `pool_size` pixels, after every activation; or none.
        norm: batch (over a channel's pixels in all rows) or group (over a row's channels of one of `groups` groups), before every
            activation; or none.
        residual: a convolution that gives what shape it takes adds its input to its output.
        dropout: probability with which a unit behind an activation is dropped while training.
        hidden: units of each connected layer between the convolutions and the scores.
    """
    block = Block(
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
    return block.network(_image(row, "conv2d"), channels, hidden or (), outputs)


def lenet(row: Row, outputs: int, activation: Spec, *, padding: Whole | None = None) -> Layers:
    """LeNet-5: convolutions to 6 and 16 channels of 5x5, each with mean pools of 2x2, then 120, 84 units and the scores.

    As it is commonly written: every channel sees all before it, pools have no weights, the last layer is linear. LeCun et al. put a
    tanh between (`--activation tanh`).

    Args:
        padding: zeros on each side of the image. By default 2, which makes 28x28 the paper's 32x32, or what an image of fewer than 12
            pixels a side needs: 4 for 8x8.
    """
    image = _image(row, "lenet")
    side = min(image[1:])
    needed = max(0, (_LENET_LEAST - side + 1) // 2)
    if padding is None:
        padding = max(2, needed)
    if padding < needed:
        raise UsageError(
            f"{mention('model', f'lenet:padding={padding}')}: an image of {sides(image[1:])} is too small for two convolutions of 5x5 and two pools "
            f"of 2x2. Take padding={needed} or more, or leave it out."
        )
    pooled = Block("lenet", activation, 5, padding=padding, pool="mean")
    first, between = pooled.stage(image, 6)
    second, last = replace(pooled, padding=0).stage(between, 16)
    return (*first, *second, *connected(math.prod(last), (120, 84), outputs, activation))


def cnn_mnist1d(row: Row, outputs: int, activation: Spec) -> Layers:
    """The convolutional network of MNIST-1D: 25 channels of kernels 5, 3 and 3 at stride 2 and padding 1, then the scores.

    5210 parameters for 40 steps and 10 classes.
    """
    layers: list[Layer] = []
    before = _series(row, "cnn_mnist1d")
    for kernel in (5, 3, 3):
        found, before = Block("cnn_mnist1d", activation, kernel, stride=2, padding=1).stage(before, 25)
        layers += found
    return (*layers, Linear(math.prod(before), outputs))


def _series(row: Row, name: str) -> Row:
    """(channels, steps)."""
    if len(row) > 2:
        raise UsageError(
            f"{mention('model', name)} goes over the steps of a series, and a row of these data is an image of shape {sides(row)}. "
            "Take conv2d or lenet."
        )
    return (1, *row) if len(row) == 1 else row


def _image(row: Row, name: str) -> Row:
    """(channels, height, width)."""
    if len(row) != 3:
        raise UsageError(
            f"{mention('model', name)} looks at images of (channels, height, width), and a row of these data has shape {sides(row)}. "
            f"{mention('data', 'digits:image=true')} and {mention('data', 'mnist5k')} have images; conv1d takes series."
        )
    return row
