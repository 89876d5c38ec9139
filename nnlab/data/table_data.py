"""A person's own .csv or .parquet table as a data set: which column is predicted, and the features that the others become.

Shapes: N rows, D features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.core.errors import DataError, UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, FeatureColumn, SplitColumn
from nnlab.data.table_reader import MARKS_IN_WORDS, numbers, numbers_or_text, read_table
from nnlab.data.targets import target_of
from nnlab.data.wording import dropped_rows_note, other_ways, quoted_names

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from nnlab.data.dataset import Floats, Missing
    from nnlab.data.splits import Split
    from nnlab.data.table_reader import Table
    from nnlab.data.targets import TargetValues, TaskChoice
else:
    np = lazy("numpy")
    pd = lazy("pandas")

TARGET_NAMES: Final = ("target", "y")
MOST_CATEGORIES: Final = 100


def table_dataset(path: Path, *, target: str | None, task: TaskChoice, missing: Missing, split: Split) -> Dataset:
    """The data set in a .csv or .parquet file: `target` is predicted from the other columns, or left out in reconstruction.

    A column of text becomes one indicator for each of its categories, which are those of the whole file. With `missing`
    `mean`, a missing category is NaN in all of them, and so becomes the categories' shares in the training part.

    Args:
        path: the file.
        target: the column to predict; None takes the one called `target` or `y`, which reconstruction can do without.
        task: what is predicted; `auto` infers it from the target column (targets.py).
        missing: how missing cells are handled.
        split: if it goes by a column, that column is not a feature.

    Raises:
        DataError: what is wrong, where, and what was expected.
    """
    table = read_table(path)
    name = _target_column(table, target, needed=task != "reconstruction")
    if task == "reconstruction":
        if name is not None and name != split.column:
            table = table.without_column(name)
        name = None
    if split.column is not None:
        table.cells(split.column, what=mention("split", split))
        if split.column == name:
            raise UsageError(f"{mention('split', split)} goes by the column that is to be predicted.")
    table, notes = _handle_missing(table, missing, needed=(name, split.column))
    names = [str(column) for column in table.frame.columns if column not in (name, split.column)]
    if not names:
        left = "" if name is None else f" but {name!r}"
        raise DataError(f"{path} has no column{left} to predict from. Expected at least one other.")
    features = [_features(table, column) for column in names]
    values = np.zeros(len(table.frame)) if name is None else _target_values(table, name, task)
    wanted = target_of(values, task, place=f"{path}, column {name!r}")
    return Dataset(
        x=np.concatenate([x for _, x in features], axis=1),
        y=wanted.y,
        task=wanted.task,
        columns=tuple(column for column, _ in features),
        row_shape=(sum(x.shape[1] for _, x in features),),
        target_name=name or "y",
        class_names=wanted.class_names,
        standardize=True,
        missing=missing,
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
            f"{table.path}: which column is to be predicted? Say {mention('target', 'COLUMN')}."
            f" Its columns: {quoted_names(names)}."
        )
    return found[0]


def _handle_missing(table: Table, missing: Missing, *, needed: tuple[str | None, ...]) -> tuple[Table, tuple[str, ...]]:
    """The table after missing cells are handled, and a note if rows were dropped.

    Args:
        table: all rows.
        missing: `drop` drops rows with a missing cell; `mean` leaves missing cells for the training part's means, except
            in the columns `needed`; else any missing cell is an error.
        needed: columns that have no mean: the target, and the one that the split goes by.
    """
    absent = table.frame.isna().to_numpy()
    if missing == "drop":
        rows = np.logical_or.reduce(absent, axis=1)
        if rows.all():
            raise DataError(
                f"{table.path}: every row has a missing cell; {mention('missing', 'drop')} leaves none."
                f" Say {mention('missing', 'mean')}."
            )
        return table.without_rows(rows), dropped_rows_note(int(rows.sum()), len(rows))
    if missing == "mean":
        absent = absent & np.array([name in needed for name in table.frame.columns])
    if absent.any():
        row, column = np.argwhere(absent)[0]
        place = table.place(int(row), str(table.frame.columns[column]))
        raise DataError(
            f"{place}: missing ({MARKS_IN_WORDS}). Expected a value; fill it in, or say {other_ways(missing)}."
        )
    return table, ()


def _features(table: Table, name: str) -> tuple[FeatureColumn, Floats]:
    """The column, and its features [N, 1] or [N, categories]."""
    cells = numbers_or_text(table, name)
    if cells.dtype == np.float64:
        return FeatureColumn(name), cells.to_numpy()[:, None]
    categories = tuple(sorted(str(text) for text in cells.dropna().unique()))
    if len(categories) > MOST_CATEGORIES:
        raise DataError(
            f"{table.path}, column {name!r} has {len(categories)} different texts. Expected numbers, or at most"
            f" {MOST_CATEGORIES} categories. Remove the column if it only names the row."
        )
    return FeatureColumn(name, categories), indicators(cells, categories)


def indicators(cells: pd.Series, categories: tuple[str, ...]) -> Floats:
    """[N, categories] of 0 and 1; NaN in the whole row where the cell is missing."""
    codes = pd.Categorical(cells, categories=list(categories)).codes
    x: Floats = np.equal(codes[:, None], np.arange(len(categories))).astype(np.float64)
    x[codes < 0] = np.nan
    return x


def _target_values(table: Table, name: str, task: TaskChoice) -> TargetValues:
    """The target column as numbers, or as text: if it is text, or if it is to be classes and not all cells are numbers."""
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
            f"{table.place(row, split.column)}: {cells.iloc[row]!r} is not a time. Expected numbers, or dates such as"
            f" 2024-01-31, for {mention('split', split)}."
        )
    return (times - times.min()).dt.total_seconds().to_numpy().astype(np.float64)
