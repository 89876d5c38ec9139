"""The building blocks of update rules: operations on one parameter of many runs, in place and in few passes over memory.

Shapes: R runs. `p`, `g` and averages are [R, ...]. A `Hyper` (hyperparameter) is one float for all runs, or a tensor
[R, 1, ...] with a number for each run, in the dtype of `p` or in float64; in float64 it is rounded only after what is
derived from it, such as 1 - beta.

Numbers of a run are computed only by operations that IEEE 754 rounds exactly, so that a run's bits don't depend on its
position among the others (torch.pow differs in the last bit between the body of a vector loop and its tail).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")

Hyper: TypeAlias = "float | Tensor"
State: TypeAlias = "dict[str, Tensor]"


def is_used(value: Hyper) -> bool:
    """True unless the hyperparameter is the float 0.0, which leaves its term out for every run."""
    return not (isinstance(value, float) and value == 0.0)


def cast_like(p: Tensor, value: Hyper) -> Hyper:
    """Return `value` in the dtype of `p`, so that no operation promotes the whole of `p`."""
    return value if isinstance(value, float) else cast_tensor_like(p, value)


def cast_tensor_like(p: Tensor, value: Tensor) -> Tensor:
    """Return `value` in the dtype of `p`."""
    return value if value.dtype == p.dtype else value.to(p.dtype)


def zeros(p: Tensor) -> Tensor:
    """Zeros with the strides of `p`, padding included: torch.zeros_like would make a padded tensor dense."""
    return torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device=p.device).zero_()


def state_tensors(state: State, p: Tensor, *names: str) -> tuple[Tensor, ...]:
    """The tensors of these names in `state`; at the first step they are added, as zeros."""
    for name in names:
        if name not in state:
            state[name] = zeros(p)
    return tuple(state[name] for name in names)


def add_multiple(x: Tensor, y: Tensor, by: Hyper, *, out: Tensor) -> Tensor:
    """out = x + by y, in one pass."""
    if isinstance(by, float):
        return torch.add(x, y, alpha=by, out=out)
    return torch.addcmul(x, y, cast_tensor_like(x, by), out=out)


def average(a: Tensor, g: Tensor, beta: Hyper) -> None:
    """a <- beta a + (1 - beta) g."""
    a.lerp_(g, cast_like(g, 1 - beta))


def average_square(a: Tensor, g: Tensor, beta: Hyper) -> None:
    """a <- beta a + (1 - beta) g^2."""
    a.mul_(cast_like(g, beta))
    if isinstance(beta, float):
        a.addcmul_(g, g, value=1 - beta)
    else:
        a.addcmul_(g * cast_tensor_like(g, 1 - beta), g)


def decay(p: Tensor, lr: Tensor, weight_decay: Hyper) -> None:
    """p <- (1 - lr weight_decay) p."""
    if is_used(weight_decay):
        p.mul_(cast_tensor_like(p, 1 - lr * weight_decay))


def add_decay(g: Tensor, p: Tensor, weight_decay: Hyper) -> None:
    """g <- g + weight_decay p: adds the gradient of weight_decay |p|^2 / 2."""
    if is_used(weight_decay):
        add_multiple(g, p, weight_decay, out=g)


def power(beta: Hyper, step: int) -> Hyper:
    """beta^step, step >= 1: for a tensor by repeated squaring, which unlike torch.pow rounds all elements alike."""
    if isinstance(beta, float):
        return math.pow(beta, step)
    half = power(beta * beta, step // 2) if step > 1 else 1.0
    return beta * half if step % 2 else half


def power_of(base: float, exponent: Hyper) -> Hyper:
    """base^exponent."""
    if isinstance(exponent, float):
        return math.pow(base, exponent)
    # Every second element of pairs: a strided operand makes PyTorch use the same scalar routine for each element.
    return torch.pow(base, torch.stack([exponent, exponent], dim=-1)[..., 0])
