"""Steps to a threshold: those taken by the first epoch end at which a loss is at or below it.

Runs that never get there are censored: their steps are inf. They have no mean; a summary gives the number of runs that
got there, and the median.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def auto_threshold(
    curves: pd.DataFrame, runs: pd.DataFrame, best_arm: str, *, column: str = "val_loss"
) -> float | None:
    """The loss midway between the best arm's mean before training and its mean at the end.

    The start is not the mean of all arms: when inits are compared, some start at a million times the loss of others. The end
    is the loss of finished runs in runs.csv: with early stopping that of the best epoch, not the last.

    Args:
        curves: rows of curves.csv: `arm, epoch` and `column`.
        runs: rows of runs.csv: `arm, status` and `column`.
        best_arm: the arm whose rows count.
        column: the loss.

    Returns:
        The loss, in its own unit; None if the column has no values (no validation part).
    """
    first = curves.loc[(curves["arm"] == best_arm) & (curves["epoch"] == 0), column].astype(float).mean()
    last = runs.loc[(runs["arm"] == best_arm) & (runs["status"] == "done"), column].astype(float).mean()
    midway = (first + last) / 2
    return float(midway) if np.isfinite(midway) else None


def steps_to_threshold(curves: pd.DataFrame, threshold: float, *, column: str = "val_loss") -> pd.Series[float]:
    """The step of each run's first epoch end at or below the threshold; inf if it never gets there.

    It is 0 for a run that starts there, and nan for a run without any values in the column, to which the question does not
    apply.

    Args:
        curves: rows of curves.csv: `run_id, epoch, step` and `column`.
        threshold: loss, in its own unit.
        column: the loss.

    Returns:
        Indexed by run_id, in the order of the first rows.
    """
    run_ids = pd.Index(curves["run_id"].unique(), name="run_id")
    loss = curves[column].astype(float)
    first = curves[loss <= threshold].groupby("run_id")["step"].min().astype(float)
    applies = loss.notna().groupby(curves["run_id"]).any()
    steps = first.reindex(run_ids).fillna(np.inf).where(applies.reindex(run_ids))
    return steps.rename("steps_to_threshold")


def num_reached(steps: ArrayLike) -> int:
    """Number of runs that got to the threshold: those whose steps are finite."""
    return int(np.isfinite(np.asarray(steps, dtype=np.float64)).sum())
