"""Losses compared by every metric that belongs to none of them, and what each loss is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.catalog.metrics import METRICS
from nnlab.report.cells import MISSING, value
from nnlab.report.columns import says_something
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.tables import estimates

if TYPE_CHECKING:
    import pandas as pd

_ABOUT: Final = ("link", "estimates", "torch_class")
_OF_PROBABILITIES: Final = ("brier", "ece")


def metrics_table(summary: pd.DataFrame) -> Sheet:
    """The matrix loss x metric: on the test part, or on validation where there is no test.

    Args:
        summary: rows of compare-loss's summary.csv.
    """
    part = "test" if any(f"test_{name}_mean" in summary for name in METRICS) else "val"
    measured = [name for name in METRICS if f"{part}_{name}_mean" in summary]
    columns = [
        Column("loss", [value(cell) for cell in summary["arm"]], folds=True),
        *(estimates(summary, f"{part}_{name}", rank=rank, header=_header(name)) for rank, name in enumerate(measured)),
        *_about(summary, first_rank=len(METRICS)),
    ]
    columns = [column for column in columns if says_something(column)]
    words = {"test": "the test part", "val": "the validation part (there is no test part)"}[part]
    return Sheet(columns, title=f"The same by every metric that no loss owns, on {words}", lines=_without(columns))


def _header(metric: str) -> str:
    return metric.replace("_", "\n")


def _about(summary: pd.DataFrame, *, first_rank: int) -> list[Column]:
    return [
        Column(name.replace("_", " "), [value(cell) for cell in summary[name]], rank=first_rank + index)
        for index, name in enumerate(_ABOUT)
    ]


def _without(columns: list[Column]) -> list[Line]:
    """Why cells are empty."""
    missing = any(MISSING in column.cells for column in columns if column.name in _OF_PROBABILITIES)
    return [Line("-: no probabilities can be made of that loss's scores, or a run diverged.")] if missing else []
