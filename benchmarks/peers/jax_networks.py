"""The networks in JAX: a function that draws parameters, and one that gives the scores of a batch.

Weights and biases follow PyTorch's default law, uniform on +-1 / sqrt(fan_in), unless the init is another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

Params = list


@dataclass(frozen=True)
class Network:
    """`draw(key, init)` gives the parameters of one run, `scores(params, x)` those of each row of `x` [B, D]."""

    draw: Callable[[Array, str], Params]
    scores: Callable[[Params, Array], Array]


INITS: Mapping[str, Callable] = {
    "zeros": initializers.zeros,
    "normal:std=0.01": initializers.normal(0.01),
    "normal:std=0.5": initializers.normal(0.5),
    "normal:std=1.5": initializers.normal(1.5),
    "xavier_uniform": initializers.xavier_uniform(),
    "xavier_normal": initializers.variance_scaling(1.0, "fan_avg", "normal"),
    "kaiming_uniform": initializers.he_uniform(),
    "kaiming_normal": initializers.variance_scaling(2.0, "fan_in", "normal"),
    "orthogonal": initializers.orthogonal(),
}


def uniform(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
    """U(-1 / sqrt(fan_in), 1 / sqrt(fan_in))."""
    bound = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def linear(key: Array, inputs: int, outputs: int, init: str) -> tuple[Array, Array]:
    """Weights [in, out] and biases [out]."""
    for_weight, for_bias = jax.random.split(key)
    if init in INITS:
        return INITS[init](for_weight, (inputs, outputs)), jnp.zeros(outputs)
    return uniform(for_weight, (inputs, outputs), inputs), uniform(for_bias, (outputs,), inputs)


def dense(*widths: int) -> Network:
    """Linear layers with a ReLU between each two."""

    def draw(key: Array, init: str) -> Params:
        keys = jax.random.split(key, len(widths) - 1)
        return [linear(k, a, b, init) for k, (a, b) in zip(keys, pairwise(widths), strict=True)]

    def scores(params: Params, x: Array) -> Array:
        *hidden, (w_last, b_last) = params
        for w, b in hidden:
            x = jax.nn.relu(x @ w + b)
        return x @ w_last + b_last

    return Network(draw, scores)


def cnn(channels: int = 25) -> Network:
    """MNIST-1D's convolutional network; rows as [B, T, channels], which is what XLA likes on a CPU."""
    shapes = ((5, 1, channels), (3, channels, channels), (3, channels, channels))

    def draw(key: Array, init: str) -> Params:
        *keys, last = jax.random.split(key, len(shapes) + 1)
        layers = []
        for k, shape in zip(keys, shapes, strict=True):
            for_weight, for_bias = jax.random.split(k)
            fan_in = shape[0] * shape[1]
            layers.append((uniform(for_weight, shape, fan_in), uniform(for_bias, shape[2:], fan_in)))
        return [*layers, linear(last, 5 * channels, 10, init)]

    def scores(params: Params, x: Array) -> Array:
        *convolutions, (w_last, b_last) = params
        h = x[:, :, None]
        for w, b in convolutions:
            h = jax.lax.conv_general_dilated(h, w, (2,), [(1, 1)], dimension_numbers=("NWC", "WIO", "NWC"))
            h = jax.nn.relu(h + b)
        return h.reshape(len(x), -1) @ w_last + b_last

    return Network(draw, scores)


def bidirectional_gru(hidden: int = 6) -> Network:
    """MNIST-1D's recurrent network, PyTorch's form of the GRU: a scan over the time steps in each direction."""

    def draw(key: Array, init: str) -> Params:
        *keys, last = jax.random.split(key, 9)
        shapes = ((3 * hidden,), (3 * hidden,), (hidden, 3 * hidden), (3 * hidden,)) * 2
        weights = [uniform(k, shape, hidden) for k, shape in zip(keys, shapes, strict=True)]
        return [tuple(weights[:4]), tuple(weights[4:]), linear(last, 2 * hidden * 40, 10, init)]

    def states(params: tuple[Array, ...], x_TB: Array) -> Array:
        w_input, b_input, w_hidden, b_hidden = params

        def step(h: Array, x_B: Array) -> tuple[Array, Array]:
            given, held = x_B[:, None] * w_input + b_input, h @ w_hidden + b_hidden
            r, z = jnp.split(jax.nn.sigmoid(given[:, : 2 * hidden] + held[:, : 2 * hidden]), 2, axis=1)
            new = jnp.tanh(given[:, 2 * hidden :] + r * held[:, 2 * hidden :])
            h = (1 - z) * new + z * h
            return h, h

        return jax.lax.scan(step, jnp.zeros((x_TB.shape[1], hidden)), x_TB)[1]

    def scores(params: Params, x: Array) -> Array:
        forth, back, (w_last, b_last) = params
        both = jnp.concatenate([states(forth, x.T), states(back, x.T[::-1])[::-1]], -1)
        return both.transpose(1, 0, 2).reshape(len(x), -1) @ w_last + b_last

    return Network(draw, scores)


NETWORKS: Mapping[str, Network] = {
    "mlp:hidden=100x100": dense(40, 100, 100, 10),
    "mlp:hidden=16x16": dense(2, 16, 16, 2),
    "cnn_mnist1d": cnn(),
    "gru:hidden=6:bidirectional=true": bidirectional_gru(),
    "mlp:width=100:depth=30": dense(40, *[100] * 30, 10),
    "linear": dense(64, 10),
    "mlp:hidden=32": dense(64, 32, 10),
}
