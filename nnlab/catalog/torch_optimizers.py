"""PyTorch's own optimizers, for the plain loop, and what theory says of the rates that they bear."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from nnlab.catalog.custom import is_custom
from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.catalog.own_optimizers import own_optimizer
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import Tensor

    from nnlab.core.kinds import Value
else:
    torch = lazy("torch")


def torch_optimizer(
    name: str, parameters: Iterable[Tensor], *, lr: float, values: Mapping[str, Value | None]
) -> torch.optim.Optimizer:
    """PyTorch's own optimizer of this name; for `lion`, which PyTorch lacks, one written like PyTorch's.

    Args:
        name: a key of OPTIMIZERS, or a person's own.
        parameters: of one run.
        lr: its rate.
        values: from `optimizer_values`.
    """
    if is_custom(name):
        return own_optimizer(name, parameters, lr=lr, values=values)
    class_name = OPTIMIZERS[name].torch_class
    made: Callable[..., torch.optim.Optimizer] = getattr(torch.optim, class_name) if class_name else lion_class()
    return made(parameters, lr=lr, **values)


@cache
def lion_class() -> type[torch.optim.Optimizer]:
    """Lion as a torch.optim.Optimizer; made when asked for, since naming its base class loads torch."""

    class Lion(torch.optim.Optimizer):
        """Chen et al. 2023, algorithm 2, one tensor after the other."""

        def __init__(
            self,
            params: Iterable[Tensor],
            lr: float = 1e-4,
            betas: tuple[float, float] = (0.9, 0.99),
            weight_decay: float = 0.0,
        ) -> None:
            super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

        @torch.no_grad()
        def step(self) -> None:  # type: ignore[override]  # no closure: what a loop here never gives
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._move(p, p.grad, group)

        def _move(self, p: Tensor, g: Tensor, group: dict[str, Any]) -> None:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            m = self.state[p].get("exp_avg", torch.zeros_like(p))
            direction = torch.sign(beta1 * m + (1 - beta1) * g)
            self.state[p]["exp_avg"] = beta2 * m + (1 - beta2) * g
            p.sub_(lr * (direction + group["weight_decay"] * p))

    return Lion


def stability_limit(name: str, values: Mapping[str, Value | None], largest_curvature: float) -> float | None:
    """The rate above which full-batch training on a quadratic diverges, or None where theory names none.

    With curvature c (the largest Hessian eigenvalue plus the weight decay), momentum b and dampening d: 2 / c without
    momentum, 2 (1 + b) / ((1 - d) c) for heavy ball, 2 (1 + b) / ((1 + 2 b) c) for Nesterov's. inf where d = 1: there
    the first gradient alone moves the weights.

    Args:
        name: a key of OPTIMIZERS; only `sgd` has a limit.
        values: from `optimizer_values`.
        largest_curvature: the largest eigenvalue of the loss's Hessian, weight decay left out.

    Source: Polyak 1964, theorem 9 (heavy ball); the others by the same roots of the recursion's polynomial.
    """
    if name != "sgd":
        return None
    momentum, dampening, weight_decay = (_number(values[key]) for key in ("momentum", "dampening", "weight_decay"))
    curvature = largest_curvature + weight_decay
    if curvature <= 0 or (momentum and dampening > 1):
        return None
    if not momentum:
        return 2 / curvature
    if values["nesterov"]:
        return 2 * (1 + momentum) / ((1 + 2 * momentum) * curvature)
    return 2 * (1 + momentum) / ((1 - dampening) * curvature) if dampening < 1 else math.inf


def _number(value: Value | None) -> float:
    assert isinstance(value, float)
    return value
