"""A results directory for a person: its table of arms, with pictures and grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nnlab.core.errors import DataError
from nnlab.storage.csv_files import SUMMARY_CSV, TUNING_CSV, read_csv
from nnlab.storage.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.report.sheets import Sheet


@dataclass(frozen=True)
class ResultsView:
    """A finished results directory, and how much of it is to be shown.

    Attributes:
        path: the directory.
        manifest: its manifest.
        explain: say below each table what its columns mean.
        all_rows: show every row of a long table.
        has_grids: show crossed factors as a grid, and every rate that was tried.
    """

    path: Path
    manifest: Manifest
    explain: bool = False
    all_rows: bool = False
    has_grids: bool = False

    @cached_property
    def summary(self) -> pd.DataFrame:
        """The rows of summary.csv."""
        return read_csv(self.path / SUMMARY_CSV)


def view_results(path: Path, *, explain: bool = False, all_rows: bool = False, has_grids: bool = False) -> ResultsView:
    """The view of a results directory.

    Raises:
        DataError: it holds no finished results.
    """
    manifest = read_manifest(path)
    if manifest is None or not (path / SUMMARY_CSV).exists():
        raise DataError(f"{path} holds no finished results. Run its command again, or name another directory.")
    return ResultsView(path, manifest, explain, all_rows, has_grids)


def summary_sheet(view: ResultsView, *, with_pictures: bool = True) -> Sheet:
    """The table of arms, with a picture of each arm if the command has one."""
    from nnlab.report.arms import summary_table
    from nnlab.report.explanations import with_meanings
    from nnlab.report.judgement import judging_of
    from nnlab.report.pictures import picture_columns

    frame = view.summary.assign(**picture_columns(view.path, view.manifest)) if with_pictures else view.summary
    sheet = summary_table(frame, judging=judging_of(view.manifest), all_rows=view.all_rows)
    return with_meanings(sheet, view.manifest.factor or "") if view.explain else sheet


def no_sheets(view: ResultsView) -> Sequence[Sheet]:  # noqa: ARG001
    """Nothing below the table of arms."""
    return ()


def comparison_grids(view: ResultsView) -> Sequence[Sheet]:
    """If grids are to be shown: crossed factors as a grid, and every rate that was tried."""
    if not view.has_grids:
        return ()
    from nnlab.report.crossed import crossed_table, tuning_table
    from nnlab.report.judgement import judging_of

    factors, metric = view.manifest.facts.get("factors"), judging_of(view.manifest).metric
    sheets, tuning = [], view.path / TUNING_CSV
    if isinstance(factors, list) and len(factors) > 1 and f"{metric}_mean" in view.summary:
        sheets.append(crossed_table(view.summary, [str(factor) for factor in factors], metric))
    if tuning.exists():
        sheets.append(tuning_table(read_csv(tuning)))
    return sheets
