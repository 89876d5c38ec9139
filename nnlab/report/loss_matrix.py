"""Losses compared by every metric that no loss owns, and the properties of each loss."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.catalog.links import LINKS
from nnlab.catalog.metrics import METRICS
from nnlab.report.arms import estimates
from nnlab.report.cells import MISSING, value
from nnlab.report.columns import says_something
from nnlab.report.sheets import Column, Line, Sheet

if TYPE_CHECKING:
    import pandas as pd

_ABOUT: Final = ("link", "estimates", "torch_class")
_MUCH_ALIKE: Final = ("macro_f1", "balanced_accuracy")  # close to accuracy: they go first where room is short
_NOT_APPLICABLE: Final = "n/a"


def metrics_table(summary: pd.DataFrame) -> Sheet:
    """The matrix loss x metric: on the test part, or on validation if there is no test part.

    Args:
        summary: rows of compare-loss's summary.csv.
    """
    part = "test" if any(f"test_{name}_mean" in summary for name in METRICS) else "val"
    names = [name for name in METRICS if f"{part}_{name}_mean" in summary]
    ranked = [*(name for name in names if name not in _MUCH_ALIKE), *_MUCH_ALIKE]
    measured = [_metric_column(summary, part, name, rank=ranked.index(name)) for name in names]
    losses = Column("loss", [value(cell) for cell in summary["arm"]], folds=True)
    columns = [c for c in (losses, *measured, *_loss_columns(summary, first_rank=len(METRICS))) if says_something(c)]
    words = {"test": "the test part", "val": "the validation part (there is no test part)"}[part]
    return Sheet(columns, title=f"Every metric that no loss owns, on {words}", lines=_gap_lines(measured))


def _metric_column(summary: pd.DataFrame, part: str, metric: str, *, rank: int) -> Column:
    column = estimates(summary, f"{part}_{metric}", rank=rank, header=metric.replace("_", "\n"))
    if not METRICS[metric].of_probabilities:
        return column
    applies = [LINKS[link].gives_probabilities for link in summary["link"]]
    full, short = (
        [cell if known else _NOT_APPLICABLE for cell, known in zip(cells, applies, strict=True)]
        for cells in (column.cells, column.narrow)
    )
    return replace(column, cells=full, narrow=short)


def _loss_columns(summary: pd.DataFrame, *, first_rank: int) -> list[Column]:
    return [
        Column(name.replace("_", " "), [value(cell) for cell in summary[name]], rank=first_rank + index)
        for index, name in enumerate(_ABOUT)
    ]


def _gap_lines(measured: list[Column]) -> list[Line]:
    """Lines that say why a cell has no number."""
    cells = {cell for column in measured for cell in column.cells}
    words = {
        _NOT_APPLICABLE: "that loss's scores are not probabilities.",
        MISSING: "a run diverged, so there is no mean.",
    }
    return [Line(f"{sign}: {why}") for sign, why in words.items() if sign in cells]
