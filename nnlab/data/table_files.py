"""A person's own .csv or .parquet table as a data set: which column is predicted, and what the others become.

Shapes: N rows, D features.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import DataError, UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.array_files import dropped_note
from nnlab.data.dataset import Column, Dataset, SplitColumn
from nnlab.data.table_reader import MARKS_IN_WORDS, listed, numbers, numbers_or_text, read_table
from nnlab.data.targets import target_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from nnlab.data.dataset import Floats, Missing
    from nnlab.data.splits import Split
    from nnlab.data.table_reader import Table
    from nnlab.data.targets import TaskChoice, Values
else:
    np = lazy("numpy")
    pd = lazy("pandas")

TARGET_NAMES: Final = ("target", "y")
MOST_CATEGORIES: Final = 100


def table_dataset(path: Path, *, target: str | None, task: TaskChoice, missing: Missing, split: Split) -> Dataset:
    """The data set in a .csv or .parquet file: `target` is predicted from the other columns, or left out in reconstruction.

    A column of text becomes one indicator for each of its categories, which are those of the whole file. A missing
    category, under `--missing mean`, is NaN in all of them, so that it becomes the categories' shares in the training
    part.

    Args:
        path: the file.
        target: the column to predict; None takes the one called `target` or `y`, which reconstruction can do without.
        task: `auto` asks the target column (targets.py).
        missing: what to do about missing cells.
        split: where it goes by a column, that column is no feature.

    Raises:
        DataError: what is wrong, where, and what was expected.
    """
    table = read_table(path)
    name = _target_column(table, target, needed=task != "reconstruction")
    if task == "reconstruction":
        table, name = _without_column(table, None if name == split.column else name), None
    if split.column is not None:
        table.cells(split.column, what=mention("split", split))
        if split.column == name:
            raise UsageError(f"{mention('split', split)} goes by the column that is to be predicted.")
    table, notes = _without_missing(table, missing, needed=(name, split.column))
    features = [str(column) for column in table.frame.columns if column not in (name, split.column)]
    if not features:
        left = "" if name is None else f" but {name!r}"
        raise DataError(f"{path} has no column{left} to predict from. Expected at least one other.")
    encoded = [_encoded(table, column) for column in features]
    values = np.zeros(len(table.frame)) if name is None else _target_values(table, name, task)
    wanted = target_of(values, task, place=f"{path}, column {name!r}")
    return Dataset(
        x=np.concatenate([x for _, x in encoded], axis=1),
        y=wanted.y,
        task=wanted.task,
        columns=tuple(column for column, _ in encoded),
        target_name=name or "y",
        class_names=wanted.class_names,
        standardize=True,
        missing=missing,
        row_shape=(sum(x.shape[1] for _, x in encoded),),
        split_column=None if split.column is None else SplitColumn(split.column, _split_values(table, split)),
        notes=notes,
    )


def _target_column(table: Table, target: str | None, *, needed: bool) -> str | None:
    if target is not None:
        table.cells(target, what=f"{mention('target')} {target!r}")
        return target
    names = [str(name) for name in table.frame.columns]
    found = [name for name in names if name in TARGET_NAMES]
    if not found and not needed:
        return None
    if len(found) != 1:
        raise DataError(
            f"{table.path}: which column is to be predicted? Say {mention('target', 'COLUMN')}. Its columns: {listed(names)}."
        )
    return found[0]


def _without_column(table: Table, name: str | None) -> Table:
    return table if name is None else replace(table, frame=table.frame.drop(columns=name))


def _without_missing(
    table: Table, missing: Missing, *, needed: tuple[str | None, ...]
) -> tuple[Table, tuple[str, ...]]:
    """The table as `--missing` wants it, and a note where rows were dropped.

    Args:
        table: all rows.
        missing: `mean` leaves missing cells to the training part's means, but not those of the columns `needed`.
        needed: columns that have no mean: the target, and what the split goes by.
    """
    absent = table.frame.isna().to_numpy()
    if missing == "drop":
        rows = np.logical_or.reduce(absent, axis=1)
        if rows.all():
            raise DataError(
                f"{table.path}: every row has a missing cell; {mention('missing', 'drop')} leaves none. Say {mention('missing', 'mean')}."
            )
        return table.without(rows), dropped_note(int(rows.sum()), len(rows))
    if missing == "mean":
        absent = absent & np.array([name in needed for name in table.frame.columns])
    if absent.any():
        row, column = np.argwhere(absent)[0]
        ways = (
            mention("missing", "drop")
            if missing == "mean"
            else f"{mention('missing', 'drop')} or {mention('missing', 'mean')}"
        )
        place = table.place(int(row), str(table.frame.columns[column]))
        raise DataError(f"{place}: missing ({MARKS_IN_WORDS}). Expected a value; fill it in, or say {ways}.")
    return table, ()


def _encoded(table: Table, name: str) -> tuple[Column, Floats]:
    """The column, and its features [N, 1] or [N, categories]."""
    cells = numbers_or_text(table, name)
    if cells.dtype == np.float64:
        return Column(name), cells.to_numpy()[:, None]
    categories = tuple(sorted(str(text) for text in cells.dropna().unique()))
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"{table.path}, column {name!r} has {len(categories)} different texts. Expected numbers, or at most"
            f" {MOST_CATEGORIES} categories. Remove the column if it only names the row."
        )
    return Column(name, categories), indicators(cells, categories)


def indicators(cells: pd.Series, categories: tuple[str, ...]) -> Floats:
    """[N, categories] of 0 and 1; NaN throughout where the cell is missing."""
    codes = pd.Categorical(cells, categories=list(categories)).codes
    x: Floats = np.equal(codes[:, None], np.arange(len(categories))).astype(np.float64)
    x[codes < 0] = np.nan
    return x


def _target_values(table: Table, name: str, task: TaskChoice) -> Values:
    """Numbers where the column has only numbers, or where that is its meaning; text otherwise."""
    cells = table.frame[name]
    if task in ("binary", "multiclass") and pd.to_numeric(cells, errors="coerce").isna().any():
        return cells.to_numpy(dtype=object)
    return numbers_or_text(table, name).to_numpy()


def _split_values(table: Table, split: Split) -> Floats:
    """[N] group numbers, or times as numbers."""
    assert split.column is not None
    cells = table.frame[split.column]
    if split.how == "group":
        return pd.factorize(cells)[0].astype(np.float64)
    if pd.to_numeric(cells, errors="coerce").notna().any():
        return numbers(table, split.column).to_numpy()
    times = pd.to_datetime(cells, errors="coerce", format="ISO8601", utc=True)
    wrong = times.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{table.place(row, split.column)}: {cells.iloc[row]!r} is no time. Expected numbers, or dates such as"
            f" 2024-01-31, for {mention('split', split)}."
        )
    return (times - times.min()).dt.total_seconds().to_numpy().astype(np.float64)
