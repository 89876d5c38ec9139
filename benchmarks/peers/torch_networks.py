"""The networks as people write them in PyTorch, with each init's own function of torch.nn.init."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn


def dense(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers = [module for a, b in pairwise(widths[:-1]) for module in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def cnn(channels: int = 25) -> nn.Sequential:
    """MNIST-1D's convolutional network."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 40)),
        nn.Conv1d(1, channels, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(channels, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(channels, channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * channels, 10),
    )


class BidirectionalGRU(nn.Module):
    """MNIST-1D's recurrent network: one number a time step, all hidden states to a linear layer."""

    def __init__(self, hidden: int = 6) -> None:
        super().__init__()
        self.gru = nn.GRU(1, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden * 40, 10)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x.unsqueeze(-1))
        return self.linear(states.flatten(1))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "mlp:hidden=100x100": lambda: dense(40, 100, 100, 10),
    "mlp:hidden=16x16": lambda: dense(2, 16, 16, 2),
    "cnn_mnist1d": cnn,
    "gru:hidden=6:bidirectional=true": BidirectionalGRU,
    "mlp:width=100:depth=30": lambda: dense(40, *[100] * 30, 10),
    "linear": lambda: dense(64, 10),
    "mlp:hidden=32": lambda: dense(64, 32, 10),
}

FILLS: Mapping[str, Callable[[Tensor], object]] = {
    "zeros": nn.init.zeros_,
    "normal:std=0.01": lambda w: nn.init.normal_(w, std=0.01),
    "normal:std=0.5": lambda w: nn.init.normal_(w, std=0.5),
    "normal:std=1.5": lambda w: nn.init.normal_(w, std=1.5),
    "xavier_uniform": nn.init.xavier_uniform_,
    "xavier_normal": nn.init.xavier_normal_,
    "kaiming_uniform": lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"),
    "kaiming_normal": lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
    "orthogonal": nn.init.orthogonal_,
}


def network(model: str, init: str, seed: int) -> nn.Module:
    """The network with the weights that its init draws under the seed; PyTorch's default where none is named."""
    torch.manual_seed(seed)
    made = NETWORKS[model]()
    for layer in made.modules():
        if init in FILLS and isinstance(layer, nn.Linear):
            FILLS[init](layer.weight)
            nn.init.zeros_(layer.bias)
    return made
