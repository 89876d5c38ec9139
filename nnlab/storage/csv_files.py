"""CSV files: runs.csv and curves.csv rendered from the journal, and any other table written and read.

Numbers have full precision (the shortest decimal that reads back as the same float), `nan`, `inf`, `-inf`; booleans are
`true` and `false`; a cell that does not apply is empty. The files are UTF-8, and lines end with a newline alone.
"""

from __future__ import annotations

import csv
import io
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from nnlab.catalog.metrics import METRICS
from nnlab.core.errors import DataError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import spell_value
from nnlab.storage.writing import disk_errors, replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import pandas as pd

    from nnlab.settings import Task
    from nnlab.settings.run_records import Run
    from nnlab.storage.journal import Journal
else:
    np = lazy("numpy")
    pd = lazy("pandas")

RUNS_CSV: Final = "runs.csv"
CURVES_CSV: Final = "curves.csv"
SUMMARY_CSV: Final = "summary.csv"
COMPARISONS_CSV: Final = "comparisons.csv"
TUNING_CSV: Final = "tuning.csv"
LAYERS_CSV: Final = "layers.csv"

_RUN: Final = [
    "run_id",
    "arm",
    "seed",
    "status",
    "diverged_step",
    "epochs",
    "steps",
    "lr",
    "init",
    "loss",
    "schedule",
    "optimizer",
    "model",
    "data",
]
_CURVE: Final = ["run_id", "arm", "seed", "epoch", "step", "lr", "batch_loss", "train_loss", "val_loss"]

# Columns whose cells are text whatever they look like: an arm '0.001' is a name, and so is a run_id '12e3'.
_TEXT: Final = [
    "run_id",
    "arm",
    "baseline",
    "status",
    "init",
    "loss",
    "schedule",
    "optimizer",
    "activation",
    "model",
    "data",
    "engine",
    "metric",
    "verdict",
    "reason",
    "layer_name",
    "subject",
    "check",
    "parameter",
    "shape",
    "worst_index",
    "cause",
]
# Columns of whole numbers that may be empty.
_WHOLE: Final = ("diverged_step",)


def run_columns(task: Task) -> tuple[str, ...]:
    """The columns of runs.csv."""
    losses = ("train_loss", "batch_loss", "val_loss", "test_loss", "steps_to_threshold")
    return (*_RUN, *losses, *_metrics("val_", task), *_metrics("test_", task), "constant_loss", "engine")


def curve_columns(task: Task) -> tuple[str, ...]:
    """The columns of curves.csv."""
    return (*_CURVE, *_metrics("val_", task))


def _metrics(part: str, task: Task) -> tuple[str, ...]:
    return tuple(f"{part}{name}" for name, metric in METRICS.items() if task in metric.tasks)


def write_runs(
    directory: Path, journal: Journal, runs: Sequence[Run], *, task: Task, steps_to_threshold: Mapping[str, float]
) -> None:
    """Write runs.csv: a row for each of `runs` that the journal has, in their order.

    Args:
        directory: the results directory.
        journal: its journal.
        runs: the runs asked for; each names its arm.
        task: decides the metrics' columns.
        steps_to_threshold: by run_id; the cell is empty where a run has none.
    """
    with replace_file(directory / RUNS_CSV) as file:
        _print_rows(file, run_columns(task), _run_rows(journal, runs, task, steps_to_threshold))


def runs_frame(journal: Journal, runs: Sequence[Run], *, task: Task) -> pd.DataFrame:
    """The rows of runs.csv as `read_csv` would read them, before any threshold is known."""
    text = io.StringIO()
    _print_rows(text, run_columns(task), _run_rows(journal, runs, task, {}))
    text.seek(0)
    return read_csv(text)


def write_curves(directory: Path, journal: Journal, runs: Sequence[Run], *, task: Task) -> None:
    """Write curves.csv: a row for each epoch end of each of `runs` that the journal has, one run in memory at a time."""
    columns = curve_columns(task)
    found = [run for run in runs if run.run_id in journal]
    curves_of_runs = journal.spelled_curves(run.run_id for run in found)
    with replace_file(directory / CURVES_CSV) as file:
        _print_rows(file, columns, [])
        for run, curves in zip(found, curves_of_runs, strict=True):
            if "epoch" in curves:
                file.writelines(_curve_lines(run, [curves.get(column, repeat("")) for column in columns[3:]]))


def _curve_lines(run: Run, columns: Sequence[Iterable[str]]) -> Iterator[str]:
    """The lines of a run. Numbers need no quoting, and joining them takes a ninth of the csv module's time."""
    start = io.StringIO()
    csv.writer(start, lineterminator=",").writerow([run.run_id, run.arm, run.seed])
    return (f"{start.getvalue()}{','.join(row)}\n" for row in zip(*columns))  # noqa: B905 - an absent column has no end


def layers_frame(journal: Journal, runs: Sequence[Run]) -> pd.DataFrame:
    """The rows of layers.csv: one for each layer of each of `runs` at each probe."""
    found = [run for run in runs if run.run_id in journal]
    rows: list[dict[str, object]] = []
    for run, kept in zip(found, journal.read((run.run_id for run in found), curves=False), strict=True):
        start = {"run_id": run.run_id, "arm": run.arm, "seed": run.seed}
        rows += [start | dict(layer) for layer in kept.layers]
    return pd.DataFrame(rows)


def _run_rows(
    journal: Journal, runs: Sequence[Run], task: Task, steps_to_threshold: Mapping[str, float]
) -> Iterator[list[object]]:
    columns = run_columns(task)
    found = [run for run in runs if run.run_id in journal]
    for run, kept in zip(found, journal.read((run.run_id for run in found), curves=False), strict=True):
        row: dict[str, object] = {"arm": run.arm, "steps_to_threshold": steps_to_threshold.get(run.run_id), **kept.row}
        yield [row.get(column) for column in columns]


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write any table as a CSV file; the old file stays until the new one is complete."""
    with replace_file(path) as file:
        print_csv(file, table)


def print_csv(file: TextIO, table: pd.DataFrame) -> None:
    """Write any table as CSV to an open file, such as stdout."""
    _print_rows(file, [str(column) for column in table.columns], zip(*map(_cells, _series(table)), strict=True))


def _series(table: pd.DataFrame) -> list[pd.Series[Any]]:
    return [table.iloc[:, position] for position in range(table.shape[1])]


def _cells(column: pd.Series[Any]) -> Iterable[object]:
    """The cells of a column, None for one that does not apply: NaN means that among texts, but not among numbers."""
    if isinstance(column.dtype, pd.StringDtype | pd.CategoricalDtype):
        return column.astype(object).where(column.notna(), None)
    return column


def _print_rows(file: TextIO, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_spell(cell) for cell in row] for row in rows)


def _spell(cell: object) -> str:
    if cell is None or cell is pd.NA:
        return ""
    return spell_value(cell.item() if isinstance(cell, np.generic) else cell)


def read_csv(source: Path | TextIO, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a table as it was written.

    Columns of names are text, where an empty cell is ''. In a column of numbers an empty cell is NaN, and so is `nan`;
    `diverged_step` is a column of nullable whole numbers. Flags are bools, nullable if cells are empty.

    Args:
        source: a CSV file, or open text such as stdin.
        columns: only these, in the file's order; those that it lacks are left out.

    Raises:
        DataError: it is not a CSV table.
        UsageError: the file does not exist or can't be read.
    """
    if isinstance(source, Path):
        with disk_errors(source), source.open(encoding="utf-8", newline="") as file:
            return _table(file, str(source), columns)
    return _table(io.StringIO(source.read()), "The text given", columns)


def _table(file: TextIO, name: str, columns: Sequence[str] | None) -> pd.DataFrame:
    try:
        header = pd.read_csv(file, nrows=0).columns
        file.seek(0)
        table = pd.read_csv(
            file,
            usecols=None if columns is None else [column for column in header if column in columns],
            dtype={**dict.fromkeys(_TEXT, "str"), **dict.fromkeys(_WHOLE, "Int64")},
            keep_default_na=False,
            na_values={column: ["", "nan"] for column in header if column not in _TEXT},
            low_memory=False,
        )
        if not isinstance(table.index, pd.RangeIndex):  # pandas takes surplus cells for row names
            raise ValueError("its rows have more cells than its header")
    except ValueError as error:
        raise DataError(f"{name} is not a CSV table with a header: {str(error).strip()}.") from None
    return table.astype({column: "boolean" for column in table if _has_flags(table[column])})


def _has_flags(column: pd.Series[Any]) -> bool:
    """True for a column of flags with empty cells, which pandas reads as objects."""
    return column.dtype == object and {type(cell) for cell in column[column.notna()]} == {bool}
