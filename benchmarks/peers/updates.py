"""The optimizers' updates on parameters of many runs at once, for torch.func: torch.optim has one rate for all of a tensor.

Shapes: R runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Tree = dict[str, Tensor]
State = dict[str, tuple[Tensor, Tensor]]
# Changes parameters and state in place, given the gradients, the rates [R] and the number of the step, from 1.
Update = Callable[[Tree, Tree, State, Tensor, Tensor], None]


def sgd(params: Tree, grads: Tree, state: State, lr_R: Tensor, step: Tensor) -> None:  # noqa: ARG001
    """p -= lr g."""
    for name, p in params.items():
        p.sub_(per_run(lr_R, p) * grads[name])


def adam(params: Tree, grads: Tree, state: State, lr_R: Tensor, step: Tensor) -> None:
    """Kingma and Ba 2015 with PyTorch's defaults."""
    for name, p in params.items():
        mean, square = state[name]
        mean.lerp_(grads[name], 0.1)
        square.mul_(0.999).addcmul_(grads[name], grads[name], value=0.001)
        p.sub_(per_run(lr_R, p) / (1 - 0.9**step) * mean / ((square / (1 - 0.999**step)).sqrt_() + 1e-8))


def adamw(params: Tree, grads: Tree, state: State, lr_R: Tensor, step: Tensor) -> None:
    """Loshchilov and Hutter 2019 with PyTorch's defaults."""
    for p in params.values():
        p.mul_(1 - per_run(lr_R, p) * 0.01)
    adam(params, grads, state, lr_R, step)


def first_state(params: Tree) -> State:
    """Two moments of zero for each parameter."""
    return {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in params.items()}


def per_run(lr_R: Tensor, p: Tensor) -> Tensor:
    """The rates [R], as they multiply a parameter [R, ...]."""
    return lr_R.view(-1, *[1] * (p.dim() - 1))


UPDATES: Mapping[str, Update] = {"sgd": sgd, "adam": adam, "adamw": adamw}
