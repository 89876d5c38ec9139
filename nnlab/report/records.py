"""Tables of files row by row: runs, curves, and any other CSV file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.report.cells import value
from nnlab.report.columns import frame_column, kept_rows, says_something, two_lines, word_column
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import sparkline

if TYPE_CHECKING:
    import pandas as pd

_SPARK_WIDTH: Final = 16


def runs_table(runs: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """runs.csv for a person: what became of each run."""
    kept, gaps = kept_rows(len(runs), (), all_rows=all_rows)
    rows = runs.iloc[kept]
    metrics = [name for name in ("test_accuracy", "test_rmse") if name in rows][:1]
    ranked = {"train_loss": 2, "val_loss": 1, **dict.fromkeys(metrics, 1), "steps_to_threshold": 4, "steps": 5}
    status = [value(cell) for cell in rows["status"]]
    columns = [
        frame_column(rows, "arm"),
        frame_column(rows, "seed"),
        word_column("status", status),
        frame_column(rows, "diverged_step", rank=3),
        *(frame_column(rows, name, rank=rank) for name, rank in ranked.items() if name in rows),
    ]
    shown = [c for c in columns if says_something(c)]
    return Sheet(shown, gaps=gaps, num_unlisted=len(runs.columns) - len(shown))


def curves_table(curves: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """curves.csv for a person: the epochs of a single run, or a row for each run with its curve as bars."""
    if curves["run_id"].nunique() == 1:
        return _epochs_table(curves, all_rows=all_rows)
    by_run = curves.sort_values("epoch", kind="stable").groupby("run_id", sort=False)
    last = by_run.tail(1).set_index("run_id").loc[list(by_run.groups)].reset_index()
    kept, gaps = kept_rows(len(last), (), all_rows=all_rows)
    rows = last.iloc[kept]
    drawn = next((name for name in ("val_loss", "train_loss") if curves[name].notna().any()), "train_loss")
    lines = [sparkline(by_run.get_group(run)[drawn].astype(float).tolist(), _SPARK_WIDTH) for run in rows["run_id"]]
    columns = [
        frame_column(rows, "arm"),
        frame_column(rows, "seed"),
        Column(two_lines(drawn) + " by epoch", lines, legend="Each curve has its own scale."),
        *(frame_column(rows, name, rank=rank) for name, rank in (("epoch", 3), ("train_loss", 2), ("val_loss", 1))),
    ]
    shown = [c for c in columns if says_something(c)]
    said = [Line("Numbers are those of each run's last epoch.")]
    return Sheet(shown, lines=said, gaps=gaps, num_unlisted=len(curves.columns) - len(shown) + 1)


def _epochs_table(curves: pd.DataFrame, *, all_rows: bool) -> Sheet:
    kept, gaps = kept_rows(len(curves), (), all_rows=all_rows)
    rows = curves.iloc[kept]
    ranked = {"epoch": 0, "step": 5, "lr": 4, "batch_loss": 3, "train_loss": 0, "val_loss": 1}
    ranked |= {name: 2 for name in ("val_accuracy", "val_rmse") if name in rows}
    columns = [frame_column(rows, name, rank=rank) for name, rank in ranked.items() if name in rows]
    shown = [c for c in columns if says_something(c)]
    return Sheet(shown, gaps=gaps, num_unlisted=len(curves.columns) - len(shown))


# Columns that a reader of any file looks for first; the others rank by their place.
_SOUGHT: Final = ("arm", "verdict", "best", "tied", "seed", "status", "epoch", "layer", "parameter", "cause")
_LAST_SOUGHT: Final = ("run_id", "engine")


def records_table(frame: pd.DataFrame, *, all_rows: bool = False) -> Sheet:
    """Any CSV file as a table, with its columns in their order; those that do not vary give way first.

    Args:
        frame: any rows; if there are none, a line says so.
        all_rows: show every row of a long frame, not only its ends.
    """
    if frame.columns.empty:
        return Sheet([Column("", [])], lines=[Line("No columns.")])
    kept, gaps = kept_rows(len(frame), (), all_rows=all_rows)
    rows = frame.iloc[kept]
    ranks = _ranks(frame)
    columns = [frame_column(rows, name, rank=ranks[name]) for name in frame.columns]
    return Sheet(columns, lines=[] if len(frame) else [Line("No rows.")], gaps=gaps)


def _ranks(frame: pd.DataFrame) -> dict[str, int]:
    """The order in which columns give way: constant and empty ones first, then from the right; the first one stays."""
    constant = [name for name in frame.columns if len(frame) > 1 and frame[name].nunique(dropna=False) == 1]
    sought = [name for name in _SOUGHT if name in frame and name not in constant]
    late = [*constant, *(name for name in _LAST_SOUGHT if name in frame and name not in constant)]
    others = [name for name in frame.columns if name not in sought and name not in late]
    return {name: rank for rank, name in enumerate([*sought, *others, *late])}
