"""Results that are there already, shown: a directory's answer, or any CSV file."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.cli.output import chosen_format, drawn, note, show, write
from nnlab.core.errors import DataError
from nnlab.experiments.answer_files import CHAIN, GRADCHECK, NEURON
from nnlab.report.arms import comparisons_table, summary_table
from nnlab.report.crossed import crossed_table, tuning_table
from nnlab.report.explanations import with_meanings
from nnlab.report.judgement import judging_of
from nnlab.report.loss_matrix import metrics_table
from nnlab.report.pictures import picture_columns
from nnlab.report.records import curves_table, records_table, runs_table
from nnlab.settings import DisplaySettings
from nnlab.storage.csv_files import COMPARISONS_CSV, CURVES_CSV, RUNS_CSV, SUMMARY_CSV, TUNING_CSV, read_csv
from nnlab.storage.manifest import MANIFEST, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.report.sheets import Sheet

_TABLES: Final[Mapping[str, Callable[..., Sheet]]] = {
    RUNS_CSV: runs_table,
    CURVES_CSV: curves_table,
    COMPARISONS_CSV: lambda frame, **_: comparisons_table(frame),
}


def show_results(path: Path, output: DisplaySettings, *, all_rows: bool = False, explain: bool = False) -> None:
    """Show the answer in a results directory: its summary, its notes, and where the files are.

    Args:
        path: the directory.
        output: how it looks.
        all_rows: also of a long summary.
        explain: say what the columns mean.
    """
    manifest = read_manifest(path)
    summary = path / SUMMARY_CSV
    single = next((path / name for name in (GRADCHECK, CHAIN, NEURON) if (path / name).exists()), None)
    if single is not None:
        show_file(single, output, all_rows=all_rows)
        note(f"Files: {path}", output)
        return
    if manifest is None or not summary.exists():
        raise DataError(f"{path} holds no finished results. Run its command again, or name another directory.")
    rows, factor = read_csv(summary), manifest.factor or ""

    def table(frame: pd.DataFrame) -> Sheet:
        drawn_rows = frame.assign(**picture_columns(path, manifest))
        sheet = summary_table(drawn_rows, judging=judging_of(manifest), all_rows=all_rows)
        return with_meanings(sheet, factor) if explain else sheet

    show(rows, table=table, output=output, csv=summary.read_bytes(), notes=manifest.notes)
    if manifest.command == "compare-loss":
        _show_metrics(rows, output, explain=explain)
    note(f"Files: {path}", output)


def _show_metrics(rows: pd.DataFrame, output: DisplaySettings, *, explain: bool) -> None:
    """Below a table, the matrix of losses and metrics; data have it among their columns."""
    form = chosen_format(output)
    if form == "table" or form == "markdown":
        sheet = metrics_table(rows)
        write(b"\n" + drawn(with_meanings(sheet, "loss") if explain else sheet, form, no_color=output.no_color))


def show_grid(path: Path, output: DisplaySettings) -> None:
    """Below a table, crossed factors as a grid, and every rate that was tried; data are in the files."""
    manifest, form = read_manifest(path), chosen_format(output)
    assert manifest is not None
    factors, metric = manifest.facts.get("factors"), judging_of(manifest).metric
    summary, tuning = read_csv(path / SUMMARY_CSV), path / TUNING_CSV
    sheets = []
    if isinstance(factors, list) and len(factors) > 1 and f"{metric}_mean" in summary:
        sheets.append(crossed_table(summary, [str(factor) for factor in factors], metric))
    if tuning.exists():
        sheets.append(tuning_table(read_csv(tuning)))
    if form == "table" or form == "markdown":
        for sheet in sheets:
            write(b"\n" + drawn(sheet, form, no_color=output.no_color))
    elif tuning.exists():
        note(f"Every rate that was tried: {tuning}", output)


def as_table(output: DisplaySettings) -> DisplaySettings:
    """The same, but with a table where the format is open, also into a pipe: the CSV file is there already."""
    return output.model_copy(update={"format": "table"}) if output.format == "auto" else output


def newest_results(root: Path = Path("results")) -> Path:
    """The results directory that was written last.

    Raises:
        DataError: there is none.
    """
    found = sorted(root.glob(f"*/*/{MANIFEST}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise DataError(f"There are no results under {root}/ here. `nnlab sweep-lr` makes some, or name a directory.")
    return found[-1].parent


def show_file(path: Path, output: DisplaySettings, *, all_rows: bool) -> None:
    """Show a CSV file as a table; one of nnlab's own in the way that belongs to it.

    Raises:
        DataError: there is no such file.
    """
    if not path.exists():
        raise DataError(f"There is no {str(path)!r} here: neither a results directory nor a CSV file.")
    if path.name == SUMMARY_CSV and (manifest := read_manifest(path.parent)) is not None:
        table = partial(summary_table, judging=judging_of(manifest), all_rows=all_rows)
    else:
        table = partial(_TABLES.get(path.name, records_table), all_rows=all_rows)
    show(read_csv(path), table=table, output=output)


def show_stdin(output: DisplaySettings, *, all_rows: bool) -> None:
    """Show a CSV file that comes from a pipe."""
    text = io.StringIO(sys.stdin.buffer.read().decode("utf-8", errors="replace"))
    show(read_csv(text), table=partial(records_table, all_rows=all_rows), output=output)
