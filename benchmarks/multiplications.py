"""The number of multiplications in a workload's training, and the number that this machine can do in a second.

A product of a [B, I] batch with [I, O] weights is B I O multiplications. Forward is one such product a layer; backward two, one by
the weights and one by the inputs, which the first layer does without. An evaluation is forward alone. Elementwise work is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Final

import torch

from benchmarks.workloads import Arrays, Workload

SGEMM_SIZE: Final = 2048
STEPS, GRU_HIDDEN = 40, 6


@dataclass(frozen=True)
class Products:
    """Multiplications for one row.

    Attributes:
        forward: of all layers.
        by_inputs: of the part of backward that goes on to an earlier layer or time step.
    """

    forward: int
    by_inputs: int

    @property
    def step(self) -> int:
        """Forward, and backward by weights and by inputs."""
        return 2 * self.forward + self.by_inputs


def dense(*widths: int) -> Products:
    """Linear layers."""
    layers = [a * b for a, b in pairwise(widths)]
    return Products(sum(layers), sum(layers[1:]))


def cnn(channels: int = 25) -> Products:
    """MNIST-1D's convolutional network: 40 numbers become 19, 10 and 5 in each channel."""
    later = 10 * channels * 3 * channels + 5 * channels * 3 * channels + 5 * channels * 10
    return Products(19 * channels * 5 + later, later)


def bidirectional_gru(hidden: int = GRU_HIDDEN) -> Products:
    """Three gates by the input and by the state, in two directions; the first state is no one's output."""
    by_input, by_state, last = 2 * STEPS * 3 * hidden, 2 * STEPS * 3 * hidden**2, 2 * hidden * STEPS * 10
    return Products(by_input + by_state + last, by_state * (STEPS - 1) // STEPS + last)


PRODUCTS: Final[Mapping[str, Products]] = {
    "mlp:hidden=100x100": dense(40, 100, 100, 10),
    "mlp:hidden=16x16": dense(2, 16, 16, 2),
    "cnn_mnist1d": cnn(),
    "gru:hidden=6:bidirectional=true": bidirectional_gru(),
    "mlp:width=100:depth=30": dense(40, *[100] * 30, 10),
    "linear": dense(64, 10),
    "mlp:hidden=32": dense(64, 32, 10),
}


def multiplications(workload: Workload, arrays: Arrays) -> int:
    """Of all runs: every step, training and validation part before the first epoch and after each, the test part once."""
    train, val, test = (arrays[f"x_{name}"].shape[1] for name in ("train", "val", "test"))
    stepped, seen = workload.epochs * train, (workload.epochs + 1) * (train + val) + test
    each = [PRODUCTS[run.model] for run in workload.runs]
    return sum(stepped * products.step + seen * products.forward for products in each)


def sgemm_rate(size: int = SGEMM_SIZE, repetitions: int = 5) -> float:
    """Multiplications a second in a float32 product of square matrices, best of some: what is physically there."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)
    best = float("inf")
    for _ in range(repetitions + 1):
        start = perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, perf_counter() - start)
    return size**3 / best
