"""summary.csv: one row for each arm, failed runs counted and never dropped.

A value that does not apply is None (an empty cell); inf and nan are numbers and are written as such.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnlab.analysis.intervals import interquartile_mean, metric_interval
from nnlab.analysis.scores import fill_with_worst, is_loss, measured_metrics, outcomes
from nnlab.analysis.thresholds import num_reached

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    import pandas as pd
    from numpy.typing import NDArray

    from nnlab.analysis.selection import Selection
    from nnlab.settings.run_records import TableCell


def summary_rows(
    runs: pd.DataFrame,
    *,
    arms: Sequence[str],
    factor: str,
    selection: Selection,
    verdicts: Mapping[str, tuple[str, str]] | None = None,
    collapsed: Set[str] | None = None,
) -> list[dict[str, TableCell]]:
    """The rows of summary.csv, in the order of `arms`.

    Args:
        runs: rows of runs.csv. Metric columns without any value (no such part) are left out.
        arms: the arms, spelled as in `runs`.
        factor: the varied factor's column; if `runs` lacks it, its cells repeat the arm.
        selection: best and tied, from `select`. If nothing is selected, `best` is false everywhere and `tied` empty.
        verdicts: verdict and reason of each arm, if the command gives any.
        collapsed: run_ids of collapsed runs; None if the command has no such notion, and n_collapsed is then empty.

    Returns:
        `arm, <factor>, n, n_diverged, n_collapsed, n_failed`, five columns for each metric, `steps_to_threshold_median,
        n_reached` if steps are known, and `verdict, reason, best, tied`. n counts every run, failed ones included.
    """
    tables = {column: outcomes(runs, column, arms) for column in measured_metrics(runs)}
    timed = "steps_to_threshold" in runs.columns and bool(runs["steps_to_threshold"].notna().any())
    rows: list[dict[str, TableCell]] = []
    for position, arm in enumerate(arms):
        of_arm = runs[runs["arm"] == arm]
        row = _identity(of_arm, arm, factor) | _counts(of_arm, collapsed)
        for column, table in tables.items():
            seeds = [table.columns.get_loc(seed) for seed in of_arm["seed"]]
            row |= metric_cells(column, table.to_numpy(dtype=np.float64)[position][seeds])
        if timed:
            row |= _steps(of_arm["steps_to_threshold"].to_numpy(dtype=np.float64))
        verdict, reason = (verdicts or {}).get(arm, (None, None))
        tied = arm in selection.tied if selection.best is not None else None
        rows.append(row | {"verdict": verdict, "reason": reason, "best": arm == selection.best, "tied": tied})
    return rows


def _identity(of_arm: pd.DataFrame, arm: str, factor: str) -> dict[str, TableCell]:
    if factor not in of_arm.columns or of_arm.empty:
        return {"arm": arm, factor: arm}
    level = of_arm[factor].iloc[0]
    return {"arm": arm, factor: level.item() if isinstance(level, np.generic) else level}


def _counts(of_arm: pd.DataFrame, collapsed: Set[str] | None) -> dict[str, TableCell]:
    status = of_arm["status"]
    return {
        "n": len(of_arm),
        "n_diverged": int((status == "diverged").sum()),
        "n_collapsed": None if collapsed is None else int(of_arm["run_id"].isin(collapsed).sum()),
        "n_failed": int((status == "failed").sum()),
    }


def metric_cells(column: str, values: NDArray[np.float64]) -> dict[str, TableCell]:
    """The five cells of an arm for one metric.

    A diverged run counts as the worst value, a run without a value as missing (`outcomes`). The mean is over all runs: if a
    run diverged it is inf for a loss and nan for another metric, and if a run has no value it is nan; such a mean has no
    interval. Median and interquartile mean are robust: they take every run without a value as the worst, and are inf (nan
    for metrics other than losses) once those runs outweigh the rest. The interval is also empty with one seed or equal
    values. All five are empty if no run has a value: the metric does not apply, or the machine failed every run.
    """
    if np.isnan(values).all():
        return dict.fromkeys(f"{column}_{part}" for part in ("mean", "ci_low", "ci_high", "median", "iqm"))
    interval = metric_interval(column, values)
    ranked = fill_with_worst(values, column)
    return {
        f"{column}_mean": _metric_cell(column, interval.estimate),
        f"{column}_ci_low": interval.low,
        f"{column}_ci_high": interval.high,
        f"{column}_median": _metric_cell(column, float(np.median(ranked))),
        f"{column}_iqm": _metric_cell(column, interquartile_mean(ranked)),
    }


def _metric_cell(column: str, value: float) -> float:
    """The value, with nan for an infinite one unless it is a loss: another metric has no value if a run diverged."""
    return value if np.isfinite(value) or is_loss(column) else float("nan")


def _steps(steps: NDArray[np.float64]) -> dict[str, TableCell]:
    return {
        "steps_to_threshold_median": float(np.median(np.where(np.isnan(steps), np.inf, steps))),
        "n_reached": num_reached(steps),
    }
