"""The results of an experiment, read from its directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from nnlab.core.errors import DataError
from nnlab.storage.csv_files import COMPARISONS_CSV, CURVES_CSV, LAYERS_CSV, RUNS_CSV, SUMMARY_CSV, TUNING_CSV, read_csv
from nnlab.storage.manifest import Manifest, read_manifest

if TYPE_CHECKING:
    import pandas as pd
    from pydantic import JsonValue


@dataclass(frozen=True, eq=False, repr=False)
class Results:
    """The files of an experiment, as they were when it ended; docs/files.md says what their columns mean.

    Attributes:
        path: the directory.
        summary: a row for each arm, the answer.
        runs: a row for each run.
        curves: a row for each run and epoch end.
        comparisons: a row for each arm and metric against the baseline; None if nothing is compared.
        tuning: a row for each arm and rate tried; None if no rate was tuned.
        layers: a row for each layer probed; None if none was.
        manifest: what was asked, and the software and machine that answered.
    """

    path: Path
    summary: pd.DataFrame
    runs: pd.DataFrame
    curves: pd.DataFrame
    comparisons: pd.DataFrame | None
    tuning: pd.DataFrame | None
    layers: pd.DataFrame | None
    manifest: Manifest

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read the results in a directory, made from Python or at the command line.

        Raises:
            DataError: it holds no finished results.
        """
        path = Path(path)
        manifest = read_manifest(path)
        if manifest is None or manifest.finished is None or not (path / SUMMARY_CSV).exists():
            raise DataError(f"{path} holds no finished results. Run its command again, or name another directory.")
        return cls(
            path=path,
            summary=read_csv(path / SUMMARY_CSV),
            runs=read_csv(path / RUNS_CSV),
            curves=read_csv(path / CURVES_CSV),
            comparisons=_table(path / COMPARISONS_CSV),
            tuning=_table(path / TUNING_CSV),
            layers=_table(path / LAYERS_CSV),
            manifest=manifest,
        )

    @property
    def best(self) -> str | None:
        """The arm that was chosen; None if none could be."""
        chosen = self.summary.loc[self.summary["best"].fillna(False).astype(bool), "arm"]
        return None if chosen.empty else str(chosen.iloc[0])

    @property
    def notes(self) -> Sequence[str]:
        """Sentences about the summary, in the words of the front end that asked for it."""
        return self.manifest.notes

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """Findings that have no table: the threshold, the baseline, the curvature at the start."""
        return self.manifest.facts

    def __repr__(self) -> str:
        found = "" if self.best is None else f", best {self.best}"
        return f"<{self.manifest.command}: {len(self.summary)} arms, {len(self.runs)} runs{found}; {self.path}>"


def _table(path: Path) -> pd.DataFrame | None:
    return read_csv(path) if path.exists() else None
