"""The learning rate of a schedule at every step, without training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.catalog.rate_tables import lr_table, momentum_table, plateau, warmup_factors
from nnlab.catalog.schedule_traps import traps
from nnlab.catalog.schedules import SCHEDULES, Budget, schedule_values
from nnlab.core.lazy import lazy
from nnlab.core.spec import Spec
from nnlab.settings import CountSetting, RateSetting, Settings, SpecSetting, WholeSetting, setting
from nnlab.settings.readers import OptionalCount

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
else:
    np, pd = lazy("numpy"), lazy("pandas")

STALLED: Final = (
    "This schedule listens to the validation loss, so its rates depend on training. Shown are the rates for a validation loss"
    " that stalls from the start: it is equal at every epoch."
)


class ScheduleSettings(Settings):
    """`nnlab schedule`: a schedule and a budget."""

    schedule: SpecSetting = setting(Spec("none"), "Learning-rate schedule.")
    lr: RateSetting = setting(0.1, "Learning rate.")
    epochs: CountSetting = setting(10, "Passes over the training part.")
    steps_per_epoch: CountSetting = setting(32, "Batches per epoch.")
    steps: OptionalCount = setting(None, "Stop after N steps.", metavar="N")
    warmup: WholeSetting = setting(0, "Steps of linear warm-up before the schedule.")

    @property
    def budget(self) -> Budget:
        """The budget of a run with these settings: `steps` overrides `epochs`, and the last epoch may be cut short."""
        steps = self.steps or self.epochs * self.steps_per_epoch
        return Budget(-(-steps // self.steps_per_epoch), self.steps_per_epoch, self.lr, max_steps=steps)


@dataclass(frozen=True, eq=False)
class ScheduleRates:
    """The rates of a schedule within a budget.

    Attributes:
        frame: a row for each step: `epoch` (passes finished before it), `step` (steps taken before it), `lr`, and
            `momentum` if the schedule cycles it.
        title: the schedule and the budget in one line.
        notes: warnings about traps, and an explanation if the schedule listens to the validation loss.
    """

    frame: pd.DataFrame
    title: str
    notes: tuple[str, ...]


def schedule_rates(settings: ScheduleSettings) -> ScheduleRates:
    """Compute the rate of every step.

    Raises:
        UsageError: an unknown schedule or key, or a budget that PyTorch's class rejects.
    """
    spec, budget = settings.schedule, settings.budget
    schedule_values(spec)
    steps = np.arange(budget.steps)
    columns = {"epoch": steps // budget.steps_per_epoch, "step": steps, **_traces(settings)}
    notes = [STALLED] * SCHEDULES[spec.name].listens + traps(spec, budget)
    return ScheduleRates(pd.DataFrame(columns), _title(settings), tuple(notes))


def _title(settings: ScheduleSettings) -> str:
    budget = settings.budget
    steps = f"{budget.steps} step{'s' * (budget.steps > 1)}, {budget.steps_per_epoch} an epoch"
    warmup = f", the first {settings.warmup} warming up" if settings.warmup else ""
    return f"{settings.schedule}, lr {settings.lr!r}, {steps}{warmup}"


def _traces(settings: ScheduleSettings) -> dict[str, np.ndarray]:
    """The rates [T], and the momenta [T] if the schedule cycles them."""
    spec, budget = settings.schedule, settings.budget
    length = {"epochs": budget.epochs, "steps": budget.steps, "steps_per_epoch": budget.steps_per_epoch}
    if SCHEDULES[spec.name].listens:
        return {"lr": _stalled_rates(spec, budget) * warmup_factors(budget.steps, settings.warmup).numpy()}
    rates = lr_table(spec, lr=budget.lr, warmup=settings.warmup, **length)
    momenta = momentum_table(spec, lr=budget.lr, **length)
    return {"lr": rates.numpy()} | ({} if momenta is None else {"momentum": momenta.numpy()})


def _stalled_rates(spec: Spec, budget: Budget) -> np.ndarray:
    """The rates of a schedule that receives the same validation loss at the end of every epoch."""
    scheduler, rates = plateau(spec, lr=budget.lr), []
    for _ in range(budget.epochs):
        rates.append(scheduler.lr)
        scheduler.step(1.0)
    return np.repeat(rates, budget.steps_per_epoch)[: budget.steps]
