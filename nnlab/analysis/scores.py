"""What a run came to: which columns are metrics, which way they are better, and what stands for a run that failed.

A diverged run ranks as the worst there can be. A run that failed by the machine's fault, or is not there yet, has no
outcome at all: it is nan here, whatever the metric.
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

# Shares of the rows, in [0, 1]: their intervals are made on the logit scale.
SHARES: Final = frozenset({"accuracy", "balanced_accuracy", "macro_f1"})

_PARTS: Final = ("train_", "batch_", "val_", "test_")


def metric_name(column: str) -> str:
    """The metric of a column, without the part it was taken on: `val_accuracy` is `accuracy`."""
    part = next((part for part in _PARTS if column.startswith(part)), "")
    return column.removeprefix(part)


def higher_is_better(column: str) -> bool:
    """Whether more of this column's metric is better.

    Raises:
        UsageError: no such metric.
    """
    name = metric_name(column)
    if name not in HIGHER_IS_BETTER:
        raise unknown_name(
            mention("metric"), column, [f"val_{known}" for known in HIGHER_IS_BETTER if known != "steps_to_threshold"]
        )
    return HIGHER_IS_BETTER[name]


def is_share(column: str) -> bool:
    """Whether the column's metric is a share of rows in [0, 1]."""
    return metric_name(column) in SHARES


def metric_columns(runs: pd.DataFrame) -> tuple[str, ...]:
    """The columns of runs.csv that hold a metric, in their order; steps_to_threshold is none of them."""
    return tuple(
        str(column)
        for column in runs.columns
        if str(column).startswith(_PARTS) and metric_name(str(column)) in HIGHER_IS_BETTER
    )


def outcomes(runs: pd.DataFrame, column: str, arms: Sequence[str]) -> pd.DataFrame:
    """The values of `column`, arms down and seeds across, worst where a run diverged and nan where it gave no number.

    Worst is inf, or -inf where higher is better. A finished run that has no value (no such part) is nan as well.

    Args:
        runs: rows of runs.csv: `arm, seed, status` and `column`.
        column: a metric's column.
        arms: the arms wanted, in the order wanted.
    """
    worst = -np.inf if higher_is_better(column) else np.inf
    values = runs[column].astype(float).mask(runs["status"] == "diverged", worst).mask(runs["status"] == "failed")
    # pivot drops a column that is all nan only in pivot_table; here every seed stays.
    table = runs.assign(value=values).pivot(index="arm", columns="seed", values="value")
    return table.reindex(index=list(arms))


def worst_for_missing(values: NDArray[np.float64], column: str) -> NDArray[np.float64]:
    """The same values with nan put as the worst: a median in which every run that failed counts against its arm."""
    return np.where(np.isnan(values), -np.inf if higher_is_better(column) else np.inf, values)


def inert_arms(runs: pd.DataFrame, column: str, arms: Sequence[str]) -> tuple[str, ...]:
    """The arms whose seeds changed nothing: two or more finite values, all the same to the last bit.

    So it is with full batches, a fixed split and a deterministic init. Such seeds are one observation repeated: no
    interval or test over them means anything, and the caller must say so.
    """
    table = outcomes(runs, column, arms)
    rows = {arm: np.asarray(table.loc[arm], dtype=np.float64) for arm in arms}
    return tuple(arm for arm, row in rows.items() if row.size > 1 and np.isfinite(row).all() and np.ptp(row) == 0)
