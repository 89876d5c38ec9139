"""Lion as a torch.optim.Optimizer, the reference for the catalogue's rule: PyTorch has none of its own."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch
    from torch import Tensor
else:
    torch = lazy("torch")


def torch_lion(parameters: Iterable[Tensor], **values: Any) -> torch.optim.Optimizer:
    """The optimizer of one run's parameters, with Lion's keys and `lr` in `values`."""
    return _lion_class()(parameters, **values)


@cache
def _lion_class() -> type[torch.optim.Optimizer]:
    """Lion's class, made when it is first needed: naming its base class loads torch."""

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
        def step(self) -> None:  # type: ignore[override]  # without the closure, which no loop here passes
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
