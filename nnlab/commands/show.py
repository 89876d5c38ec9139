"""`nnlab show`: any result as a table: a results directory, a CSV file, or a pipe."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnlab.commands.command import Answer, Command, ExperimentCommand, show_results
from nnlab.core.errors import DataError
from nnlab.report.results_view import ResultsView, no_sheets, summary_sheet, view_results
from nnlab.settings import DisplaySettings, Settings, argument, setting
from nnlab.storage.csv_files import COMPARISONS_CSV, CURVES_CSV, RUNS_CSV, SUMMARY_CSV, read_csv
from nnlab.storage.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given


class ShowSettings(Settings):
    """`nnlab show`: a result, and how much of it is shown."""

    what: Path | None = argument(
        "Results directory, CSV file, or - for stdin (default: the newest results).",
        metavar="[DIR|FILE.csv|-]",
        default=None,
    )
    all: bool = setting(False, "Show every row of a long table.", role="execution", panel="Output")
    explain: bool = setting(False, "Explain the columns of the table.", role="execution", panel="Output")


def show_command(experiments: Mapping[str, ExperimentCommand[Any]]) -> Command[ShowSettings, DisplaySettings]:
    """The command, for results of these experiments."""

    def answer(given: Given[ShowSettings, DisplaySettings], watcher: Watcher) -> Answer:  # noqa: ARG001
        settings = given.settings
        what = newest_results() if settings.what is None else settings.what
        if str(what) == "-":
            text = io.StringIO(sys.stdin.buffer.read().decode("utf-8", errors="replace"))
            return _rows_answer(read_csv(text), all_rows=settings.all)
        if not what.is_dir():
            return _file_answer(what, all_rows=settings.all)
        tables = sorted(what.glob("*.csv"))
        if tables and not (what / RUNS_CSV).exists():  # a command without runs: its first table is the result
            return _file_answer(tables[0], all_rows=settings.all, remarks=[f"Files: {what}"])
        view = view_results(what, explain=settings.explain, all_rows=settings.all)
        known = experiments.get(view.manifest.command)  # None: of another nnlab
        return show_results(view, given.output, further_sheets=known.further_sheets if known else no_sheets)

    return Command(
        "show",
        "Show any result as a table.",
        ShowSettings,
        DisplaySettings,
        answer,
        check=lambda _: None,
        examples=(
            "nnlab show",
            "nnlab show results/train/house --explain",
            "nnlab sweep-lr --data digits --format csv | nnlab show -",
        ),
        auto_format="table",  # into a pipe as well: the CSV file is there already
    )


def newest_results(root: Path = Path("results")) -> Path:
    """The results directory that was written last.

    Raises:
        DataError: there is none.
    """
    found = sorted(root.glob(f"*/*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"There are no results under {root}/ here. `nnlab sweep-lr` makes some, or name a directory.")
    return found[-1].parent


def _file_answer(path: Path, *, all_rows: bool, remarks: Sequence[str] = ()) -> Answer:
    """A CSV file as a table; one that nnlab wrote in the way that suits it.

    Raises:
        DataError: there is no such file.
    """
    if not path.exists():
        raise DataError(f"There is no {str(path)!r} here: neither a results directory nor a CSV file.")
    rows = read_csv(path)
    if path.name == SUMMARY_CSV and (manifest := read_manifest(path.parent)) is not None:
        view = ResultsView(path.parent, manifest, all_rows=all_rows)
        return Answer(rows, lambda: [summary_sheet(view, with_pictures=False)])
    return _rows_answer(rows, name=path.name, all_rows=all_rows, remarks=remarks)


def _rows_answer(rows: pd.DataFrame, *, name: str = "", all_rows: bool, remarks: Sequence[str] = ()) -> Answer:
    def sheets() -> Sequence[Sheet]:
        from nnlab.report.arms import comparisons_table
        from nnlab.report.records import curves_table, records_table, runs_table

        tables: Mapping[str, Callable[..., Sheet]] = {RUNS_CSV: runs_table, CURVES_CSV: curves_table}
        if name == COMPARISONS_CSV:
            return [comparisons_table(rows)]
        return [tables.get(name, records_table)(rows, all_rows=all_rows)]

    return Answer(rows, sheets, remarks=remarks)
