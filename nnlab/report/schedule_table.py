"""A schedule's rates: a table of the steps at which they change, and their curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nnlab.report.columns import frame_column, kept_rows
from nnlab.report.plots import Curves, Illustrated
from nnlab.report.sheets import Line
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_MOST_CHANGES: Final = 30  # if there are more, only each epoch's first is shown


def rates_table(rates: pd.DataFrame, *, title: str = "", all_rows: bool = False) -> Illustrated:
    """The first step, every change and the last step; of many changes only each epoch's first and the turns of the curve.

    Args:
        rates: a row for each step: `epoch, step, lr`, perhaps `momentum`.
        title: the schedule and the budget.
        all_rows: show every change, however many there are.
    """
    shown, turns, words = _changes(rates, all_rows=all_rows)
    matter = np.flatnonzero(np.isin(shown, turns)).tolist()
    kept, gaps = kept_rows(len(shown), matter, all_rows=all_rows)
    rows = rates.iloc[shown[kept]]
    columns = [frame_column(rows, name) for name in rates.columns]
    return Illustrated(columns, title=plain_text(title), lines=[Line(words)], gaps=gaps, pictures=rate_curves(rates))


def rate_curves(rates: pd.DataFrame) -> Sequence[Curves]:
    """The curve of each column over epochs, or over steps if there is only one epoch."""
    per_epoch = int((rates["epoch"] == 0).sum())
    by_epoch = int(rates["epoch"].iloc[-1]) > 0
    axis = {"epoch": rates["step"] / per_epoch} if by_epoch else {"step": rates["step"]}
    names = rates.columns.drop(["epoch", "step"])
    return [Curves(pd.DataFrame({**axis, name: rates[name]})) for name in names]


def _changes(rates: pd.DataFrame, *, all_rows: bool) -> tuple[np.ndarray, np.ndarray, str]:
    """The steps to show, the steps at which a curve turns, and a sentence on which steps are shown."""
    values = rates.drop(columns=["epoch", "step"]).to_numpy()
    changes = np.flatnonzero(np.diff(values, axis=0, prepend=np.nan).any(1))  # the first step among them
    rises = np.sign(np.diff(values[changes], axis=0))
    turns = changes[1:-1][(rises[1:] != rises[:-1]).any(1)]
    last = len(rates) - 1
    if all_rows or len(changes) <= _MOST_CHANGES:
        return np.union1d(changes, last), turns, "Each rate holds until the next row."
    firsts = np.flatnonzero(np.diff(rates["epoch"], prepend=-1))
    words = "The first step of each epoch, and where the curve turns; --all shows every change."
    return np.unique([*firsts, *turns, changes[-1], last]), turns, words
