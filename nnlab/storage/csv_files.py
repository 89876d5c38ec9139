"""The tables on the disk: runs.csv and curves.csv rendered from the journal, and any other table written and read.

Numbers have full precision (the shortest decimal that reads back as the same float), `nan`, `inf`, `-inf`; booleans are
`true` and `false`; what does not apply is empty. UTF-8, lines end with a newline alone.
"""

from __future__ import annotations

import csv
import io
from itertools import repeat
from typing import TYPE_CHECKING, Final, TextIO

import pandas as pd

from nnlab.catalog.metrics import METRICS
from nnlab.storage.writing import disk_errors, replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from nnlab.core.records import Run
    from nnlab.core.settings import Task
    from nnlab.storage.journal import Journal

RUNS: Final = "runs.csv"
CURVES: Final = "curves.csv"

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
    before = [
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
    losses = ("train_loss", "batch_loss", "val_loss", "test_loss", "steps_to_threshold")
    return (*before, *losses, *_metrics("val_", task), *_metrics("test_", task), "constant_loss", "engine")


def curve_columns(task: Task) -> tuple[str, ...]:
    """The columns of curves.csv."""
    before = ("run_id", "arm", "seed", "epoch", "step", "lr", "batch_loss", "train_loss", "val_loss")
    return (*before, *_metrics("val_", task))


def _metrics(part: str, task: Task) -> tuple[str, ...]:
    return tuple(f"{part}{name}" for name, metric in METRICS.items() if task in metric.tasks)


def write_runs(
    directory: Path,
    journal: Journal,
    runs: Sequence[Run],
    *,
    task: Task,
    steps_to_threshold: Mapping[str, float],
) -> None:
    """Write runs.csv: a row for each of `runs` that the journal has, in their order.

    Args:
        directory: of the results.
        journal: of the same directory.
        runs: what was asked for; each names its arm.
        task: decides the metrics' columns.
        steps_to_threshold: by run_id; empty cells where a run has none.
    """
    write_csv(directory / RUNS, run_columns(task), _run_rows(journal, runs, task, steps_to_threshold))


def runs_frame(
    journal: Journal, runs: Sequence[Run], *, task: Task, steps_to_threshold: Mapping[str, float]
) -> pd.DataFrame:
    """The rows of runs.csv as `read_csv` would read them."""
    text = io.StringIO()
    print_csv(text, run_columns(task), _run_rows(journal, runs, task, steps_to_threshold))
    text.seek(0)
    return read_csv(text)


def write_curves(directory: Path, journal: Journal, runs: Sequence[Run], *, task: Task) -> None:
    """Write curves.csv: a row for each epoch end of each of `runs` that the journal has, one run at a time."""
    columns = curve_columns(task)
    found = [run for run in runs if run.run_id in journal]
    curves_of_runs = journal.spelled_curves(run.run_id for run in found)
    with replacing(directory / CURVES) as file:
        file.write(",".join(columns) + "\n")
        for run, curves in zip(found, curves_of_runs, strict=True):
            # Numbers need no quoting, and the csv module would look at each of their digits: nine times as slow.
            first = _csv_line([run.run_id, run.arm, run.seed])
            cells = (curves.get(column, repeat("")) for column in columns[3:])
            file.writelines(f"{first},{','.join(row)}\n" for row in zip(*cells) if curves)  # noqa: B905


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write any table as a CSV file."""
    write_csv(path, list(table.columns), _cells(table))


def print_table(file: TextIO, table: pd.DataFrame) -> None:
    """Write any table as CSV to an open file, such as stdout."""
    print_csv(file, list(table.columns), _cells(table))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file; the old one stays until the new one is whole."""
    with replacing(path) as file:
        print_csv(file, columns, rows)


def print_csv(file: TextIO, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write CSV to an open file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_spelled(cell) for cell in row] for row in rows)


def read_csv(source: Path | TextIO, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """A table as it was written.

    Columns that name things are text, where an empty cell is ''. In a column of numbers an empty cell is NaN, and so is
    `nan`; `diverged_step` is a column of nullable whole numbers. Flags are bools, or nullable where cells are empty.

    Args:
        source: a CSV file, or text such as stdin's.
        columns: only these, in the file's order.

    Raises:
        DataError: no table can be read from it.
        UsageError: there is no such file.
    """
    if not hasattr(source, "read"):
        with disk_errors(source), source.open(encoding="utf-8", newline="") as file:
            return _table(file, str(source), columns)
    return _table(io.StringIO(source.read()), "the text given", columns)
