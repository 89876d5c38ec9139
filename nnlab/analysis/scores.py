"""The outcomes of runs: which columns are metrics, which direction is better, and what a run that failed counts as.

A diverged run counts as the worst value possible. A run that failed through the machine's fault, or does not exist yet,
has no outcome: it is nan, whatever the metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from nnlab.catalog.metrics import METRICS
from nnlab.core.errors import unknown_name
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

HIGHER_IS_BETTER: Final[Mapping[str, bool]] = {
    "loss": False,
    **{name: metric.higher_is_better for name, metric in METRICS.items()},
    "steps_to_threshold": False,
}

# Shares of the rows, in [0, 1]: their intervals are computed on the logit scale.
SHARES: Final = frozenset({"accuracy", "balanced_accuracy", "macro_f1"})

_PARTS: Final = ("train_", "batch_", "val_", "test_")


def metric_name(column: str) -> str:
    """The metric of a column, without the part it is measured on: that of `val_accuracy` is `accuracy`."""
    part = next((part for part in _PARTS if column.startswith(part)), "")
    return column.removeprefix(part)


def higher_is_better(column: str) -> bool:
    """True if higher values of the column's metric are better.

    Raises:
        UsageError: there is no such metric.
    """
    name = metric_name(column)
    if name not in HIGHER_IS_BETTER:
        raise unknown_name(
            mention("metric"), column, [f"val_{known}" for known in HIGHER_IS_BETTER if known != "steps_to_threshold"]
        )
    return HIGHER_IS_BETTER[name]


def is_loss(column: str) -> bool:
    """True if the column holds a loss, which is in its own unit: it does not compare different losses or targets."""
    return metric_name(column) == "loss"


def is_share(column: str) -> bool:
    """True if the column's metric is a share of rows, in [0, 1]."""
    return metric_name(column) in SHARES


def metric_columns(runs: pd.DataFrame) -> tuple[str, ...]:
    """The columns of runs.csv that hold a metric, in their order; steps_to_threshold is not one of them."""
    return tuple(
        str(column)
        for column in runs.columns
        if str(column).startswith(_PARTS) and metric_name(str(column)) in HIGHER_IS_BETTER
    )


def measured_metrics(runs: pd.DataFrame) -> tuple[str, ...]:
    """The metric columns with a value in some finished run, or in any run if none finished.

    A part of the data without rows has no values, even if the loss of a diverged run is recorded there as inf.
    """
    done = runs[runs["status"] == "done"]
    having = runs if done.empty else done
    return tuple(column for column in metric_columns(runs) if having[column].notna().any())


def outcomes(runs: pd.DataFrame, column: str, arms: Sequence[str]) -> pd.DataFrame:
    """The values of `column`: a row for each arm, a column for each seed.

    A diverged run has the worst value: inf, or -inf if higher is better. A failed run is nan, and so is a finished run
    without a value (the data have no such part).

    Args:
        runs: rows of runs.csv: `arm, seed, status` and `column`.
        column: a metric's column.
        arms: the arms wanted, in the order wanted.
    """
    worst = -np.inf if higher_is_better(column) else np.inf
    values = runs[column].astype(float).mask(runs["status"] == "diverged", worst).mask(runs["status"] == "failed")
    # Unlike pivot_table, pivot keeps a seed whose values are all nan.
    table = runs.assign(value=values).pivot(index="arm", columns="seed", values="value")
    return table.reindex(index=list(arms))


def fill_with_worst(values: NDArray[np.float64], column: str) -> NDArray[np.float64]:
    """The values with nan replaced by the worst one, so that in a median every failed run counts against its arm."""
    return np.where(np.isnan(values), -np.inf if higher_is_better(column) else np.inf, values)


def inert_arms(runs: pd.DataFrame, column: str, arms: Sequence[str]) -> tuple[str, ...]:
    """The arms whose seeds changed nothing: two or more finite values, all the same to the last bit.

    This happens with full batches, a fixed split and a deterministic init. Such seeds are one observation repeated: no
    interval or test over them means anything, and the caller must say so.
    """
    table = outcomes(runs, column, arms)
    rows = {arm: np.asarray(table.loc[arm], dtype=np.float64) for arm in arms}
    return tuple(arm for arm, row in rows.items() if row.size > 1 and np.isfinite(row).all() and np.ptp(row) == 0)
