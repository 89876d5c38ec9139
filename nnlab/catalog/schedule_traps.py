"""What people trip over in schedules: settings that PyTorch accepts and that hardly anybody means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from nnlab.catalog.schedules import schedule_values
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from nnlab.catalog.schedules import Budget
    from nnlab.core.spec import Spec

# The whole numbers among a schedule's keys. One that follows from the budget is not among them, and traps nobody.
Given: TypeAlias = Mapping[str, int]


def traps(spec: Spec, budget: Budget) -> list[str]:
    """Warnings of what this schedule does within this budget that is likely not meant; one sentence each.

    Args:
        spec: the schedule.
        budget: the run's.
    """
    values = schedule_values(spec)
    given = {key: value for key, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}
    found = list(_TRAPS[spec.name](given, budget)) if spec.name in _TRAPS else []
    milestones = values.get("milestones")
    late = [m for m in milestones if m >= budget.epochs] if isinstance(milestones, tuple) else []
    if late:
        found.append(f"milestones {late} are never reached: milestones count epochs, and the run has {budget.epochs}.")
    return [f"{mention('schedule', spec)}: {trap}" for trap in found]


def _step(given: Given, budget: Budget) -> Iterator[str]:
    if given.get("step_size", 0) >= budget.epochs:
        yield _never("the rate never falls", "step_size", given, budget)


def _cosine(given: Given, budget: Budget) -> Iterator[str]:
    T_max = given.get("T_max", budget.epochs)
    if T_max < budget.epochs - 1:
        yield (
            f"past epoch T_max={T_max} the rate rises again, up to where it began at epoch {2 * T_max};"
            f" the run has {budget.epochs} epochs."
        )
    if T_max > budget.epochs:
        yield _never("the rate never comes down to eta_min", "T_max", given, budget)


def _cosine_warm_restarts(given: Given, budget: Budget) -> Iterator[str]:
    if "T_0" not in given:
        return
    if given["T_0"] > budget.epochs:
        yield _never("the first cosine never ends", "T_0", given, budget)
    start, length = 0, given["T_0"]
    while start + length < budget.epochs:
        start, length = start + length, length * given["T_mult"]
    if start and start == budget.epochs - 1:
        yield f"the last epoch, {start}, restarts: the run ends at its highest rate."


def _reaches_its_end(given: Given, budget: Budget) -> Iterator[str]:
    if given.get("total_iters", 0) > budget.epochs:
        yield _never("it is not done when the run is", "total_iters", given, budget)


def _polynomial(given: Given, budget: Budget) -> Iterator[str]:
    yield from _reaches_its_end(given, budget)
    total = given.get("total_iters", budget.epochs)
    if total < budget.epochs:
        yield f"from epoch total_iters={total} on the rate is 0: the last {budget.epochs - total} epochs train nothing."


def _cyclic(given: Given, budget: Budget) -> Iterator[str]:
    up = given.get("step_size_up")
    if up is None:
        return
    cycle = up + given.get("step_size_down", up)
    if cycle > budget.steps:
        yield f"the run's {budget.steps} steps are less than one cycle of {cycle}."
    if up <= budget.epochs < budget.steps:
        yield _counts_steps("step_size_up", up, budget)


def _one_cycle(given: Given, budget: Budget) -> Iterator[str]:
    total = given.get("total_steps", budget.steps)
    if total > budget.steps:
        yield f"total_steps={total}, but the run has {budget.steps} steps: the rate never comes down to its end."
    elif total == budget.steps - 1:
        yield f"total_steps={total}, but the run has {budget.steps} steps: the last is past the end of PyTorch's curve."
    elif total < budget.steps:
        yield f"total_steps={total} ends before the run's {budget.steps} steps do: PyTorch refuses the step after."
    if total == budget.epochs < budget.steps:
        yield _counts_steps("total_steps", total, budget)


def _reduce_on_plateau(given: Given, budget: Budget) -> Iterator[str]:
    first = given["patience"] + 2  # an epoch that sets the best, then patience + 1 stalled ones
    if first >= budget.epochs:
        yield (
            f"patience={given['patience']} lets the rate fall after {first} epochs at the soonest;"
            f" the run has {budget.epochs}."
        )


def _never(consequence: str, key: str, given: Given, budget: Budget) -> str:
    return f"{consequence}: {key}={given[key]} counts epochs, and the run has {budget.epochs}."


def _counts_steps(key: str, value: int, budget: Budget) -> str:
    return f"{key} counts steps, not epochs: {value} steps of the {budget.steps_per_epoch} that an epoch has."


_TRAPS: Final[Mapping[str, Callable[[Given, Budget], Iterator[str]]]] = {
    "step": _step,
    "constant": _reaches_its_end,
    "linear": _reaches_its_end,
    "polynomial": _polynomial,
    "cosine": _cosine,
    "cosine_warm_restarts": _cosine_warm_restarts,
    "cyclic": _cyclic,
    "one_cycle": _one_cycle,
    "reduce_on_plateau": _reduce_on_plateau,
}
