"""The learning rate of every step of a run, computed before it runs by stepping PyTorch's own scheduler.

Shapes: T steps. Tables are float64 on the CPU. They are computed once and shared, so they must not be modified.

Warm-up multiplies the schedule by a straight line from above 0 to 1. It is PyTorch's LinearLR. SequentialLR could not join
the two: it steps all its parts equally often, but warm-up counts steps where most schedules count epochs. So a schedule's
epochs are the run's epochs with and without warm-up, and a schedule that ends with the run still does.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from nnlab.catalog.entry import find
from nnlab.catalog.schedules import SCHEDULES, Budget, schedule_values
from nnlab.core.errors import UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

    from nnlab.core.spec import Spec
else:
    torch = lazy("torch")


def lr_table(spec: Spec, *, lr: float, epochs: int, steps: int, steps_per_epoch: int, warmup: int = 0) -> Tensor:
    """The rate of each step [T], warm-up included.

    Args:
        spec: the schedule; not one that listens to the validation loss.
        lr: the optimizer's rate; the peak in `one_cycle` and `cyclic`.
        epochs: passes over the training part; the last one may be cut short.
        steps: the number of steps of the run, T.
        steps_per_epoch: batches of one pass.
        warmup: steps of warm-up; the first step at the full rate is step `warmup`, counted from 0.

    Raises:
        UsageError: a key that PyTorch rejects, or a rate that is negative or not finite.
    """
    schedule_values(spec)
    if find(SCHEDULES, spec, what=mention("schedule")).is_constant:
        # Without PyTorch's classes: the first optimizer takes a second to load.
        rates = torch.full((steps,), lr, dtype=torch.float64)
    else:
        rates, _ = _rates_and_momenta(spec, Budget(epochs, steps_per_epoch, lr, max_steps=steps))
    return rates * warmup_factors(steps, warmup) if warmup else rates


def momentum_table(spec: Spec, *, lr: float, epochs: int, steps: int, steps_per_epoch: int) -> Tensor | None:
    """The momentum (Adam's first beta) of each step [T]; None if the schedule does not cycle it."""
    if not schedule_values(spec).get("cycle_momentum"):
        return None
    return _rates_and_momenta(spec, Budget(epochs, steps_per_epoch, lr, max_steps=steps))[1]


class Plateau:
    """PyTorch's ReduceLROnPlateau for one run."""

    def __init__(self, scheduler: ReduceLROnPlateau) -> None:
        self._scheduler = scheduler

    @property
    def lr(self) -> float:
        """The rate of the next step, before warm-up."""
        return float(self._scheduler.get_last_lr()[0])

    def step(self, val_loss: float) -> None:
        """Update the rate by the validation loss at the end of an epoch."""
        self._scheduler.step(val_loss)


def plateau(spec: Spec, *, lr: float) -> Plateau:
    """The scheduler that `spec` names, which listens to the validation loss, before the first epoch."""
    scheduler = scheduler_on(_rate_holder(lr), spec, Budget(epochs=1, steps_per_epoch=1, lr=lr))
    assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    return Plateau(scheduler)


def scheduler_on(optimizer: Optimizer, spec: Spec, budget: Budget) -> LRScheduler:
    """PyTorch's scheduler that `spec` names, on `optimizer`.

    Raises:
        UsageError: a name, key or value that this program or PyTorch does not accept.
    """
    row = find(SCHEDULES, spec, what=mention("schedule"))
    values = schedule_values(spec)
    try:
        return row.function(optimizer, budget, **values)
    except ValueError as refused:
        raise UsageError(f"{mention('schedule', spec)}: PyTorch's {row.torch_class} reports: {refused}") from None


@lru_cache(maxsize=64)
def warmup_factors(steps: int, warmup: int) -> Tensor:
    """The factors of warm-up on the rates [T]: (t + 1) / (warmup + 1) at steps t < `warmup`, then 1."""
    factors = torch.ones(steps, dtype=torch.float64)
    if warmup:
        scheduler = torch.optim.lr_scheduler.LinearLR(_rate_holder(1.0), 1 / (warmup + 1), 1.0, total_iters=warmup)
        rising = min(warmup, steps)
        factors[:rising] = _step_through(scheduler, rising)[0]
    return factors


@lru_cache(maxsize=256)
def _rates_and_momenta(spec: Spec, budget: Budget) -> tuple[Tensor, Tensor]:
    """Rates and momenta of all steps, before warm-up."""
    row = find(SCHEDULES, spec, what=mention("schedule"))
    if row.listens:
        raise UsageError(
            f"{mention('schedule', spec)} listens to the validation loss, so it has no rates without training."
        )
    scheduler = scheduler_on(_rate_holder(budget.lr), spec, budget)
    steps_per_tick = budget.steps_per_epoch if row.per == "epoch" else 1
    try:
        ticks = _step_through(scheduler, -(-budget.steps // steps_per_tick))
    except ValueError as refused:
        after = f"{mention('schedule', spec)} within {budget.steps} steps"
        raise UsageError(f"{after}: PyTorch's {row.torch_class} reports: {refused}") from None
    _check_rates(ticks[0].tolist(), spec, row.per)
    rates, momenta = ticks.repeat_interleave(steps_per_tick, dim=1)[:, : budget.steps]
    return rates, momenta


def _check_rates(rates: list[float], spec: Spec, per: str) -> None:
    for at, rate in enumerate(rates):
        if not 0 <= rate < float("inf"):
            raise UsageError(
                f"{mention('schedule', spec)} makes the rate {rate!r} at {per} {at}; rates must be finite and 0 or more."
            )


def _step_through(scheduler: LRScheduler, num_ticks: int) -> Tensor:
    """Step the scheduler; return rate and momentum at each of `num_ticks` ticks, [2, num_ticks]."""
    group = scheduler.optimizer.param_groups[0]
    scheduler.optimizer.step()  # moves nothing: PyTorch warns if the scheduler is stepped first
    rows = []
    for tick in range(num_ticks):
        if tick:
            scheduler.step()
        rows.append((group["lr"], group["momentum"]))
    return torch.tensor(rows, dtype=torch.float64).T.contiguous()


def _rate_holder(lr: float) -> Optimizer:
    """An optimizer without parameters, whose rate and momentum a scheduler can set.

    Not one of PyTorch's own: making one loads PyTorch's compiler, which takes over a second.
    """

    class RateHolder(torch.optim.Optimizer):
        def __init__(self) -> None:
            self.defaults = {"lr": lr, "momentum": 0.0}
            self.param_groups = [{"params": [], **self.defaults}]

        # PyTorch's step is overloaded, with and without a closure; schedulers call it without.
        def step(self, closure: object = None) -> None:  # type: ignore[override]
            """Do nothing."""

    return RateHolder()
