"""Judging arms, for every study: the best by validation, the arms tied with it, steps to a threshold, rows of the summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

from nnlab.core.spelling import mention
from nnlab.experiments.study import Conclusion, Evidence

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.analysis.selection import Selection
    from nnlab.experiments.experiment import Experiment


def judge_arms(
    experiment: Experiment,
    evidence: Evidence,
    *,
    verdicts: Mapping[str, tuple[str, str]] | None = None,
    collapsed: Set[str] | None = None,
    notes: Sequence[str] = (),
    has_threshold: bool = True,
) -> Conclusion:
    """The conclusion that follows from a table of runs.

    Args:
        experiment: the experiment.
        evidence: rows of its finished runs.
        verdicts: by arm, verdict and reason.
        collapsed: run_ids of runs that are finite but dead, if the command has such a notion.
        notes: the study's own sentences.
        has_threshold: the arms' losses have the same unit, so that steps to one threshold can be counted.
    """
    from nnlab.analysis.selection import select
    from nnlab.analysis.summaries import summary_rows

    settings, runs = experiment.settings, evidence.runs
    arms = [arm.name for arm in experiment.arms]
    selection = select(runs, arms=arms, metric=settings.metric, collapsed=collapsed or frozenset())
    threshold, steps = _steps(settings.threshold_loss, evidence, selection) if has_threshold else (None, {})
    runs = runs.assign(steps_to_threshold=runs["run_id"].map(steps).astype(float))
    rows = summary_rows(
        runs, arms=arms, factor=experiment.column, selection=selection, verdicts=verdicts, collapsed=collapsed
    )
    return Conclusion(
        summary=rows,
        steps_to_threshold=steps,
        facts={"threshold_loss": threshold, "basis": selection.basis},
        notes=[*notes, *_seed_notes(experiment, runs)],
        best_arm=selection.best,
    )


def _steps(wanted: float | str, evidence: Evidence, selection: Selection) -> tuple[float | None, Mapping[str, float]]:
    """The threshold on the validation loss, or without one on the training loss, and each run's steps to it."""
    from nnlab.analysis.thresholds import auto_threshold, steps_to_threshold

    curves = evidence.curves
    if curves.empty:
        return None, {}
    column = "val_loss" if curves["val_loss"].notna().any() else "train_loss"
    if isinstance(wanted, float):
        threshold: float | None = wanted
    else:
        threshold = (
            None if selection.best is None else auto_threshold(curves, evidence.runs, selection.best, column=column)
        )
    if threshold is None:
        return None, {}
    return threshold, {
        str(run_id): float(n) for run_id, n in steps_to_threshold(curves, threshold, column=column).items()
    }


def _seed_notes(experiment: Experiment, runs: pd.DataFrame) -> list[str]:
    from nnlab.analysis.scores import inert_arms

    if len(experiment.seeds) == 1:
        return [f"One seed: there are no intervals and no tests. Say {mention('seeds', '10')}."]
    inert = inert_arms(runs, "train_loss", [arm.name for arm in experiment.arms])
    if inert:
        arms = "every arm" if len(inert) == len(experiment.arms) else ", ".join(inert)
        return [f"The seeds change nothing in {arms}: full batches, one split, one start. One observation, repeated."]
    return []
