"""A neuron's numbers as a table: one step in full, many steps, or a gate being learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.report.cells import number, value
from nnlab.report.columns import frame_column, kept_rows, says_something
from nnlab.report.plots import Curves, Illustrated
from nnlab.report.sheets import Column, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    import pandas as pd

_DIGITS: Final = 6  # enough to check arithmetic by hand
_LEAST_POINTS: Final = 5  # a shorter curve is not worth drawing
_CONSTANT: Final = ("gate", "activation", "rule")  # columns that the title says
_LEGENDS: Final = {
    "out_00": "out 01: the output for inputs 0 and 1.",
    "wrong": "wrong: how many of the four rows have their output on the wrong side of 1/2.",
}


def neuron_table(rows: pd.DataFrame, *, title: str, all_rows: bool = False) -> Sheet:
    """A row for each quantity of one step; or a row for each of several steps or passes, and the curve of the loss."""
    if "quantity" in rows:
        return _quantities_table(rows, title)
    kept, gaps = kept_rows(len(rows), (), all_rows=all_rows)
    shown = rows.iloc[kept]
    names = [name for name in rows.columns if name not in _CONSTANT]
    columns = [_column(shown, name, rank) for rank, name in enumerate(names)]
    filled = [column for column in columns if says_something(column)]
    return Illustrated(filled, title=plain_text(title), gaps=gaps, pictures=_curves(rows))


def _column(rows: pd.DataFrame, name: str, place: int) -> Column:
    header = name.replace("dL_d", "dL/d").replace("dO_d", "dO/d").replace("_", "\n", 1)
    # The derivatives give way first: their product is in the next row's weights.
    rank = place + 100 * name.startswith(("dL_", "dO_")) if place else 0
    rank = 0 if name in ("loss", "output", "wrong") else rank
    column = frame_column(rows, name, rank=rank)
    return Column(header, column.cells, column.align, rank=rank, legend=_LEGENDS.get(name, ""))


def _quantities_table(rows: pd.DataFrame, title: str) -> Sheet:
    columns = [
        Column("quantity", [value(cell) for cell in rows["quantity"]]),
        Column("formula", [value(cell) for cell in rows["formula"]], folds=True),
        Column("value", [number(cell, _DIGITS) for cell in rows["value"].astype(float)], "decimal"),
    ]
    legend = "s: the sum w . x + b; O: the output f(s); L: the loss. A derivative is a product of those above it."
    columns[0] = Column("quantity", columns[0].cells, legend=legend)
    return Sheet(columns, title=plain_text(title))


def _curves(rows: pd.DataFrame) -> list[Curves]:
    axis, drawn = ("step", "loss") if "loss" in rows else ("epoch", "wrong")
    return [Curves(rows[[axis, drawn]])] if len(rows) >= _LEAST_POINTS else []
