"""What update rules are made of: operations on one parameter of many runs, in place and in few passes over memory.

Shapes: R runs. `p`, `g` and averages are [R, ...]; a `Hyper` is one float for every run, or a tensor [R, 1, ...] with
each run's own, in the dtype of `p` or in float64 (then it is rounded after what is derived from it, such as 1 - beta).

Per run only operations are used that IEEE 754 rounds exactly, so that a run's bits don't hang on its place among the
others (torch.pow differs in the last bit between the body of a vector loop and its tail).
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
    """Whether a term is there at all: the float 0.0 says it is not, for any run."""
    return not (isinstance(value, float) and value == 0.0)


def rounded(value: Hyper, p: Tensor) -> Hyper:
    """`value` in the dtype of `p`, so that no operation promotes the whole of `p`."""
    return value if isinstance(value, float) else rounded_tensor(value, p)


def rounded_tensor(value: Tensor, p: Tensor) -> Tensor:
    """`value` in the dtype of `p`."""
    return value if value.dtype == p.dtype else value.to(p.dtype)


def zeros(p: Tensor) -> Tensor:
    """Zeros with the strides of `p`, padding included: torch.zeros_like makes a padded tensor dense."""
    return torch.empty_strided(p.shape, p.stride(), dtype=p.dtype, device=p.device).zero_()


def held(state: State, p: Tensor, *names: str) -> tuple[Tensor, ...]:
    """The tensors of these names in `state`, zeros at first."""
    for name in names:
        if name not in state:
            state[name] = zeros(p)
    return tuple(state[name] for name in names)


def add_multiple(x: Tensor, y: Tensor, by: Hyper, *, out: Tensor) -> Tensor:
    """out = x + by y, in one pass."""
    if isinstance(by, float):
        return torch.add(x, y, alpha=by, out=out)
    return torch.addcmul(x, y, rounded_tensor(by, x), out=out)


def average(held_average: Tensor, g: Tensor, beta: Hyper) -> None:
    """a <- beta a + (1 - beta) g."""
    held_average.lerp_(g, rounded(1 - beta, g))


def average_square(held_average: Tensor, g: Tensor, beta: Hyper) -> None:
    """a <- beta a + (1 - beta) g^2."""
    held_average.mul_(rounded(beta, g))
    if isinstance(beta, float):
        held_average.addcmul_(g, g, value=1 - beta)
    else:
        held_average.addcmul_(g * rounded_tensor(1 - beta, g), g)


def decay(p: Tensor, lr: Tensor, weight_decay: Hyper) -> None:
    """p <- (1 - lr weight_decay) p."""
    if is_used(weight_decay):
        p.mul_(rounded_tensor(1 - lr * weight_decay, p))


def add_decay(g: Tensor, p: Tensor, weight_decay: Hyper) -> None:
    """g <- g + weight_decay p: the gradient of weight_decay |p|^2 / 2 is added."""
    if is_used(weight_decay):
        add_multiple(g, p, weight_decay, out=g)


def power(beta: Hyper, step: int) -> Hyper:
    """beta^step, step >= 1: of a tensor by repeated squaring, which unlike torch.pow rounds every element alike."""
    if isinstance(beta, float):
        return math.pow(beta, step)
    half = power(beta * beta, step // 2) if step > 1 else 1.0
    return beta * half if step % 2 else half


def power_of(base: float, exponent: Hyper) -> Hyper:
    """base^exponent."""
    if isinstance(exponent, float):
        return math.pow(base, exponent)
    # Every second element of pairs: a strided operand sends each element through the same scalar routine.
    return torch.pow(base, torch.stack([exponent, exponent], dim=-1)[..., 0])
