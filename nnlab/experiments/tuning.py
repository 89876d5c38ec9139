"""A rate for each arm: every arm at every rate over tuning seeds, then the best by mean validation.

An arm has one rate for all its seeds, and is reported on other seeds than it was tuned on, so that the choice can't flatter it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnlab.core.spelling import mention
from nnlab.experiments.experiment import Arm, Experiment, runs_of
from nnlab.settings.run_records import Run, TableCell

if TYPE_CHECKING:
    import pandas as pd


def tuning_arm(arm: str, lr: float) -> str:
    """The name of an arm at one of the rates."""
    return f"{arm} lr={lr!r}"


def tuning_runs(experiment: Experiment) -> tuple[Run, ...]:
    """Every arm at every rate over the tuning seeds."""
    tuning = experiment.tuning
    assert tuning is not None
    fingerprint = experiment.dataset.fingerprint()
    return tuple(
        run
        for arm in experiment.arms
        for lr in tuning.rates
        for run in runs_of(
            Arm(tuning_arm(arm.name, lr), arm.settings.model_copy(update={"lr": lr})), tuning.seeds, fingerprint
        )
    )


@dataclass(frozen=True)
class Tuned:
    """The result of the search.

    Attributes:
        experiment: the experiment, with each arm at its best rate.
        rows: rows of tuning.csv: arm, rate, the metric's mean, seeds lost, and whether the rate was chosen.
        notes: the budget, and the arms whose rate is at an end of the grid.
    """

    experiment: Experiment
    rows: Sequence[dict[str, TableCell]]
    notes: Sequence[str]


def tune(experiment: Experiment, runs: pd.DataFrame) -> Tuned:
    """Put each arm at its best rate.

    Args:
        experiment: the experiment; the rates that its arms have do not matter.
        runs: the tuning runs, as rows of runs.csv.
    """
    from nnlab.analysis.selection import select

    metric, tuning = experiment.settings.metric, experiment.tuning
    assert tuning is not None
    arms, rows, at_end, lost = [], [], [], []
    for arm in experiment.arms:
        names = [tuning_arm(arm.name, lr) for lr in tuning.rates]
        best = select(runs[runs["arm"].isin(names)], arms=names, metric=metric).best
        chosen = tuning.rates[names.index(best)] if best is not None else tuning.rates[0]
        arms.append(replace(arm, settings=arm.settings.model_copy(update={"lr": chosen})))
        if best is None:
            lost.append(arm.name)
        elif len(tuning.rates) > 1 and not tuning.brackets(chosen):
            at_end.append(arm.name)
        rows += [
            _row(arm.name, lr, runs[runs["arm"] == name], metric, chosen)
            for lr, name in zip(tuning.rates, names, strict=True)
        ]
    budget = len(arms) * len(tuning.rates) * tuning.num_seeds
    notes = [
        f"Rates tuned: {len(tuning.rates)} from {tuning.rates[0]!r} to {tuning.rates[-1]!r}, {_seeds(tuning.num_seeds)} "
        f"of {'its' if tuning.num_seeds == 1 else 'their'} own, {budget} runs, by mean {metric}."
    ]
    if at_end:
        notes.append(
            f"Not bracketed: the best rate of {', '.join(at_end)} is at the end of the rates searched. Widen {mention('tune_lr')}."
        )
    if lost:
        notes.append(
            f"No learning rate worked for {', '.join(lost)}: every tuning run failed. Using the smallest rate tried."
        )
    return Tuned(replace(experiment, arms=tuple(arms)), rows, notes)


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count > 1)}"


def _row(arm: str, lr: float, of_rate: pd.DataFrame, metric: str, chosen: float) -> dict[str, TableCell]:
    lost = int((of_rate["status"] != "done").sum())
    mean = float(of_rate[metric].astype(float).mean(skipna=False)) if len(of_rate) else None
    return {"arm": arm, "lr": lr, "n": len(of_rate), "n_lost": lost, f"{metric}_mean": mean, "chosen": lr == chosen}
