"""A dense layer whose backward pass was written by hand, with three of the classic mistakes; see docs/gradcheck.md."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WrongLinear(torch.autograd.Function):
    """y = x W^T + b, for rows x [N, D], W [K, D], b [K]."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        by_x = -upstream @ weight  # the sign
        by_weight = upstream[:-1].T @ x[:-1]  # the last row is left out
        by_bias = upstream.mean(0)  # a mean over the rows, where the sum is due
        return by_x, by_weight, by_bias


class WrongLayer(nn.Module):
    """The same as a layer with parameters of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N, 2] of rows [N, 3]."""
        y: Tensor = WrongLinear.apply(x, self.linear.weight, self.linear.bias)
        return y
