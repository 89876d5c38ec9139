"""Modules as a person might write them, each awkward in its own way: what the tests of own models train."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Layers of PyTorch, with everything that the engines must agree on."""

    def __init__(
        self, features: int, outputs: int, activation: nn.Module, *, width: int = 6, norm: bool = False, dropout=0.0
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(features, width, bias=not norm),
            nn.BatchNorm1d(width) if norm else nn.Identity(),
            activation,
            nn.Dropout(dropout),
            nn.Linear(width, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class OneNumber(nn.Module):
    """Gives [B], scales by a parameter without dimensions, and drops inputs, which all runs share."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.drop, self.linear = nn.Dropout(0.2), nn.Linear(features, 1)
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.linear(self.drop(x)).squeeze(1)


class Channels(nn.Module):
    """A convolution whose channels are dropped whole, on rows as small images."""

    def __init__(self, row: tuple, outputs: int, *, kernels: tuple[int, ...] = (3, 3)) -> None:
        super().__init__()
        self.conv = nn.Conv2d(row[0], 4, kernels, padding="same")
        self.drop, self.out = nn.Dropout2d(0.4), nn.LazyLinear(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.drop(self.conv(x)).relu_().flatten(1))


class Remembers(nn.Module):
    """A buffer that is changed in place, one that is replaced, one that no state dict has, and weights that never learn."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("mix", torch.randn(features, features), persistent=False)
        self.still = nn.Parameter(torch.randn(features), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            self.mean = 0.9 * self.mean + 0.1 * x.detach().mean(0)
        return self.linear((x - self.mean) @ self.mix * self.still)


class RemembersHidden(nn.Module):
    """A buffer that what a layer gives takes the place of: under autocast a bfloat16."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(features, 8), nn.Linear(8, outputs)
        self.register_buffer("seen", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        if self.training:
            self.seen = h.detach().mean(0)
        return self.last((h - self.seen).relu())


class OnlyInFloat32(nn.Module):
    """Adds what a layer gives to an array of its own, which has to have its type: under autocast it has not."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        return x.new_zeros(h.shape).index_add(0, torch.arange(len(h)), h)


class Tied(nn.Module):
    """One weight, used in two places."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(features, features)
        self.second = nn.Linear(features, features)
        self.second.weight = self.first.weight
        self.out = nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


class Recurrent(nn.Module):
    def __init__(self, outputs: int, *, hidden: int = 3) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(1, hidden, batch_first=True), nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x.unsqueeze(2))[0][:, -1])


class Branches(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(features, outputs), nn.Linear(features, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z = self.one(x)
        return z if z.mean() > 0 else z + self.other(x)


class InPlace(nn.Module):
    """Fills a tensor of its own, column by column."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(features, 4), nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        z, h = self.hidden(x), x.new_zeros(len(x), 4)
        h[:, ::2] = z[:, ::2]
        h[:, 1::2] += z[:, 1::2].relu_()
        return self.out(h)


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, d: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 3 * x**2 * d


class OwnGradient(nn.Module):
    """A custom autograd.Function without a rule for vmap."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(features, 4), nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(Cube.apply(self.hidden(x)))


class Rolls(nn.Module):
    """Draws from PyTorch's global generator."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(features, 8), nn.Linear(8, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.dropout(torch.tanh(self.hidden(x)), 0.3, self.training))


def made_here(features: int, outputs: int, depth: int = 1) -> nn.Module:
    """A function that makes a module."""
    layers = [part for _ in range(depth) for part in (nn.Linear(features, features), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(features, outputs))


ready = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


class SignDescent(torch.optim.Optimizer):
    """p <- p - lr (sign(g) + shrink p)."""

    def __init__(self, params, lr: float = 0.1, *, shrink: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "shrink": shrink})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * (p.grad.sign() + group["shrink"] * p))


def nesterov(params, lr, momentum=0.9):
    return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=True)
