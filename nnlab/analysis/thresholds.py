"""How many steps it takes to get there: first epoch end at or below a loss.

Runs that never get there are censored: their steps are inf, so that k of N reached and a median with inf say all
there is to say, and nothing is averaged.
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
    """Midway between the best arm's mean loss before training and its mean loss at the end.

    Not that of all arms before training: where inits are compared, some start at a million times the loss of others.
    At the end, as runs.csv has it: with early stopping that is the best epoch, not the last. Of runs that finished.

    Args:
        curves: rows of curves.csv: `arm, epoch` and `column`.
        runs: rows of runs.csv: `arm, status` and `column`.
        best_arm: the arm whose rows count.
        column: the loss.

    Returns:
        In the loss's own unit; None where the column has no values (no validation part).
    """
    first = curves.loc[(curves["arm"] == best_arm) & (curves["epoch"] == 0), column].astype(float).mean()
    last = runs.loc[(runs["arm"] == best_arm) & (runs["status"] == "done"), column].astype(float).mean()
    midway = (first + last) / 2
    return float(midway) if np.isfinite(midway) else None


def steps_to_threshold(curves: pd.DataFrame, threshold: float, *, column: str = "val_loss") -> pd.Series[float]:
    """For each run the step of its first epoch end at or below the threshold; inf where it never gets there.

    A run that is there before any step has 0. A run whose column has no values at all has nan: the question does not
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
    """How many runs got to the threshold: those whose steps are finite."""
    return int(np.isfinite(np.asarray(steps, dtype=np.float64)).sum())
