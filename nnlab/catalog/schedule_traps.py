"""Traps in schedules: settings that PyTorch accepts and that hardly anybody intends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from nnlab.catalog.schedules import schedule_values
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from nnlab.catalog.schedules import Budget
    from nnlab.core.spec import Spec

# The whole numbers among a schedule's keys, without those that follow from the budget, which are no traps.
WholeKeys: TypeAlias = Mapping[str, int]


def traps(spec: Spec, budget: Budget) -> list[str]:
    """Warnings about effects of this schedule within this budget that are probably not intended, one sentence each.

    Args:
        spec: the schedule.
        budget: the budget of the run.
    """
    values = schedule_values(spec)
    given = {key: value for key, value in values.items() if isinstance(value, int) and not isinstance(value, bool)}
    found = list(_TRAPS[spec.name](given, budget)) if spec.name in _TRAPS else []
    milestones = values.get("milestones")
    late = [m for m in milestones if m >= budget.epochs] if isinstance(milestones, tuple) else []
    if late:
        found.append(f"milestones {late} are never reached: milestones count epochs, and the run has {budget.epochs}.")
    return [f"{mention('schedule', spec)}: {trap}" for trap in found]


def _step_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    if given.get("step_size", 0) >= budget.epochs:
        yield _epochs_message("the rate never falls", "step_size", given, budget)


def _cosine_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    T_max = given.get("T_max", budget.epochs)
    if T_max < budget.epochs - 1:
        yield (
            f"past epoch T_max={T_max} the rate rises again, up to its first value at epoch {2 * T_max};"
            f" the run has {budget.epochs} epochs."
        )
    if T_max > budget.epochs:
        yield _epochs_message("the rate never comes down to eta_min", "T_max", given, budget)


def _cosine_warm_restarts_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    if "T_0" not in given:
        return
    if given["T_0"] > budget.epochs:
        yield _epochs_message("the first cosine never ends", "T_0", given, budget)
    start, length = 0, given["T_0"]
    while start + length < budget.epochs:
        start, length = start + length, length * given["T_mult"]
    if start and start == budget.epochs - 1:
        yield f"a restart falls on the last epoch, {start}: the run ends at its highest rate."


def _total_iters_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    if given.get("total_iters", 0) > budget.epochs:
        yield _epochs_message("it is not finished at the end of the run", "total_iters", given, budget)


def _polynomial_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    yield from _total_iters_traps(given, budget)
    total = given.get("total_iters", budget.epochs)
    if total < budget.epochs:
        yield f"from epoch total_iters={total} on the rate is 0: the last {budget.epochs - total} epochs train nothing."


def _cyclic_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    up = given.get("step_size_up")
    if up is None:
        return
    cycle = up + given.get("step_size_down", up)
    if cycle > budget.steps:
        yield f"one cycle takes {cycle} steps, and the run has only {budget.steps}."
    if up <= budget.epochs < budget.steps:
        yield _steps_message("step_size_up", up, budget)


def _one_cycle_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    total = given.get("total_steps", budget.steps)
    if total > budget.steps:
        yield f"total_steps={total}, but the run has {budget.steps} steps: the rate never comes down to its final value."
    elif total == budget.steps - 1:
        yield f"total_steps={total}, but the run has {budget.steps} steps: the last one is past the end of PyTorch's curve."
    elif total < budget.steps:
        yield f"total_steps={total}, but the run has {budget.steps} steps: PyTorch stops with an error after total_steps."
    if total == budget.epochs < budget.steps:
        yield _steps_message("total_steps", total, budget)


def _reduce_on_plateau_traps(given: WholeKeys, budget: Budget) -> Iterator[str]:
    first = given["patience"] + 2  # one epoch that sets the best, then patience + 1 stalled ones
    if first >= budget.epochs:
        yield (
            f"with patience={given['patience']} the rate can fall after {first} epochs at the earliest;"
            f" the run has {budget.epochs}."
        )


def _epochs_message(consequence: str, key: str, given: WholeKeys, budget: Budget) -> str:
    return f"{consequence}: {key}={given[key]} counts epochs, and the run has {budget.epochs}."


def _steps_message(key: str, value: int, budget: Budget) -> str:
    return f"{key}={value} counts steps, not epochs, and an epoch has {budget.steps_per_epoch} steps."


_TRAPS: Final[Mapping[str, Callable[[WholeKeys, Budget], Iterator[str]]]] = {
    "step": _step_traps,
    "constant": _total_iters_traps,
    "linear": _total_iters_traps,
    "polynomial": _polynomial_traps,
    "cosine": _cosine_traps,
    "cosine_warm_restarts": _cosine_warm_restarts_traps,
    "cyclic": _cyclic_traps,
    "one_cycle": _one_cycle_traps,
    "reduce_on_plateau": _reduce_on_plateau_traps,
}
