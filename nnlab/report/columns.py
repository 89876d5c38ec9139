"""Building blocks of all tables: columns of known words in their colours, columns of numbers, the rows of a long frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from nnlab.report.cells import MISSING, value
from nnlab.report.sheets import Column
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_ROWS: Final = 60  # longer frames show their ends, and the rows that matter
_END_ROWS: Final = 10

WORD_STYLES: Final = {
    **dict.fromkeys(("good", "healthy", "better", "done", "ok"), "green"),
    **dict.fromkeys(("edge", "saturated", "kink"), "yellow"),
    **dict.fromkeys(("diverges", "exploding", "vanishing", "dead", "symmetric", "worse", "diverged", "wrong"), "red"),
    **dict.fromkeys(("too small", "tied"), "cyan"),
    **dict.fromkeys(("nothing learned", "failed", "not run"), "magenta"),
    "best": "bold green",
    "not separated": "dim",
}


def word_column(header: str, cells: Sequence[str], rank: int = 0) -> Column:
    """A column of words, each in its colour if it has one."""
    return Column(header, cells, rank=rank, styles=[WORD_STYLES.get(cell, "") for cell in cells])


def frame_column(rows: pd.DataFrame, name: str, rank: int = 0) -> Column:
    """A column of a frame as it is: numbers aligned at their points, known words in their colours."""
    column = rows[name]
    cells = [value(cell) for cell in column.tolist()]
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return Column(plain_text(name), cells, "decimal", rank=rank)
    styles = [WORD_STYLES.get(cell, "") for cell in cells]
    return Column(plain_text(name), cells, rank=rank, styles=styles, folds=True)


def two_lines(column: str) -> str:
    """A column's name in two short lines: `val` above `loss`."""
    return plain_text(column).replace("_", "\n", 1)


def says_something(column: Column) -> bool:
    """True if any cell of the column has a value."""
    return any(cell not in ("", MISSING) for cell in column.cells)


def kept_rows(num_rows: int, matter: Iterable[int], *, all_rows: bool) -> tuple[list[int], dict[int, int]]:
    """The rows of a long frame to show, and how many are left out before each, by its place among those shown.

    Args:
        num_rows: of the frame.
        matter: rows to show with their neighbours, besides both ends.
        all_rows: leave nothing out.
    """
    if all_rows or num_rows <= MOST_ROWS:
        return list(range(num_rows)), {}
    near = {row + step for row in matter for step in (-2, -1, 0, 1, 2)}
    shown = near | {*range(_END_ROWS), *range(num_rows - _END_ROWS, num_rows)}
    kept = sorted(row for row in shown if 0 <= row < num_rows)
    gaps = {i: row - kept[i - 1] - 1 for i, row in enumerate(kept) if i and row - kept[i - 1] > 1}
    return kept, gaps
