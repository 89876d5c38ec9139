"""Kernels one after another, and the connection that skips a sequence of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nnlab.engine.arrays import blocks_of, padded_like
from nnlab.engine.kernels.site import Kernel


def run_forward(kernels: Sequence[Kernel], x: Tensor, training: bool) -> Tensor:
    """The output of the last kernel."""
    for kernel in kernels:
        x = kernel.forward(x, training)
    return x


def run_backward(kernels: Sequence[Kernel], d: Tensor) -> Tensor:
    """The gradient with respect to the first kernel's input; writes all parameters' gradients on the way."""
    for kernel in reversed(kernels):
        d = kernel.backward(d)
    return d


class ResidualKernel:
    """h = x + inner(x)."""

    def __init__(self, inner: Sequence[Kernel]) -> None:
        self.inner = inner

    def forward(self, x: Tensor, training: bool) -> Tensor:
        self.h = run_forward(self.inner, x, training)
        return torch.add(x, self.h, out=padded_like(x))

    def backward(self, d: Tensor) -> Tensor:
        # The inner kernels overwrite the gradient that they are handed, and the skip needs it too.
        through = run_backward(self.inner, padded_like(self.h).copy_(d))
        blocks_of(d).add_(blocks_of(through))
        return d
