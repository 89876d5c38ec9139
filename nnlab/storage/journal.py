"""The journal: one line for every finished run, the source of truth from which all tables are rendered.

    {"run_id":"4f1c...","row":{column of runs.csv:cell},"curves":{column of curves.csv:[one value an epoch end]}}

Each line is JSON; that of a failed run has its `reason` before the curves. Numbers that JSON can't express are the strings
"nan", "inf" and "-inf", as in the CSV files. A line ends with its newline: a process killed while writing leaves a torn
last line, which counts as not written and is cut off by the next append. If a run has two lines, the later one counts.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final

from nnlab.core.errors import DataError
from nnlab.core.spelling import mention
from nnlab.storage.writing import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from nnlab.settings.run_records import RunRecord, TableCell

JOURNAL: Final = "journal.jsonl"
NOT_FINITE: Final = frozenset({"nan", "inf", "-inf"})

# Columns of a row whose cells are text, even where they read "nan".
_TEXT: Final = frozenset({"run_id", "status", "init", "loss", "schedule", "optimizer", "model", "data", "engine"})
_CURVES: Final = b',"curves":'  # can't occur inside a JSON string, where its quotes would be escaped
_BLOCK: Final = 1 << 16

_encoder: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_digits: Final = json.JSONDecoder(parse_float=str, parse_int=str)


@dataclass(frozen=True)
class StoredRun:
    """A finished run as the journal holds it.

    Attributes:
        run_id: hash of everything that decides the run's numbers.
        row: its row of runs.csv, without the cells that depend on the experiment: the arm and `steps_to_threshold`.
        curves: column of curves.csv -> one value for each epoch end.
        reason: why it failed; empty if it did not.
        layers: its rows of layers.csv, from the column `epoch` on; none if its layers were not probed.
    """

    run_id: str
    row: Mapping[str, TableCell]
    curves: Mapping[str, Sequence[float]]
    reason: str = ""
    layers: Sequence[Mapping[str, TableCell]] = ()

    @property
    def is_done(self) -> bool:
        """True if the run has a result; a failed run has none and is tried again."""
        return self.row["status"] != "failed"


def journal_row(record: RunRecord) -> StoredRun:
    """The journal's record of a run: its settings in their canonical spelling, its scores, its curves."""
    run, settings = record.run, record.run.settings
    row: dict[str, TableCell] = {
        "run_id": run.run_id,
        "seed": run.seed,
        "status": record.status,
        "diverged_step": record.diverged_step,
        "epochs": record.epochs,
        "steps": record.steps,
        "lr": settings.lr,
        "init": str(settings.init),
        "loss": None if settings.loss is None else str(settings.loss),
        "schedule": str(settings.schedule),
        "optimizer": str(settings.optimizer),
        "model": str(settings.model),
        "data": str(settings.data),
        **record.scores,
        "engine": record.engine,
    }
    return StoredRun(run.run_id, row, record.curves, record.reason, record.layers)


@dataclass(frozen=True)
class _Place:
    offset: int
    line_number: int
    is_done: bool


class Journal:
    """The journal of a results directory. Memory grows with the number of runs, not with their curves."""

    def __init__(self, directory: Path) -> None:
        """Find each run's last line.

        Raises:
            DataError: a line is not the record of a run.
        """
        self.path = directory / JOURNAL
        self._places: dict[str, _Place] = {}
        self._num_lines = 0
        if self.path.exists():
            with disk_errors(self.path), self.path.open("rb") as file:
                self._note(file, 0)

    def __contains__(self, run_id: object) -> bool:
        """True if the run has a line, failed or not."""
        return run_id in self._places

    def finished_run_ids(self) -> frozenset[str]:
        """The ids of the runs that need not be trained again."""
        return frozenset(run_id for run_id, place in self._places.items() if place.is_done)

    def append(self, runs: Iterable[StoredRun]) -> None:
        """Add runs, safe on the disk when this returns.

        Raises:
            PartialError: the disk is full; the journal holds what it held before.
        """
        lines = b"".join([_line(run) for run in runs])
        with disk_errors(self.path), self.path.open("ab+") as file:
            end = _end_of_whole_lines(file)
            if end < file.seek(0, os.SEEK_END):
                file.truncate(end)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
            file.seek(end)
            self._note(file, end)

    def read(self, run_ids: Iterable[str] | None = None, *, curves: bool = True) -> Iterator[StoredRun]:
        """Read runs, one after another.

        Args:
            run_ids: the runs to read, in this order, without those that have no line; None for all, in the order in which
                they were first recorded.
            curves: read their curves too; without them, a long journal is read several times as fast.
        """
        for number, line in self._lines(run_ids):
            yield _parse(line if curves else _head(line), self.path, number)

    def spelled_curves(self, run_ids: Iterable[str]) -> Iterator[dict[str, list[str]]]:
        """The curves of runs as text, for a CSV file: its spelling of numbers is the journal's, so digits are only copied."""
        for number, line in self._lines(run_ids):
            try:
                yield _curve_spellings(line)
            except (ValueError, AttributeError, TypeError):
                raise _damage_error(self.path, number) from None

    def _lines(self, run_ids: Iterable[str] | None) -> Iterator[tuple[int, bytes]]:
        wanted = tuple(self._places) if run_ids is None else (run_id for run_id in run_ids if run_id in self._places)
        if not self._places:
            return
        with disk_errors(self.path), self.path.open("rb") as file:
            for run_id in wanted:
                place = self._places[run_id]
                file.seek(place.offset)
                yield place.line_number, file.readline()

    def _note(self, file: IO[bytes], offset: int) -> None:
        for line in file:
            if not line.endswith(b"\n"):
                return
            self._num_lines += 1
            run = _parse(_head(line), self.path, self._num_lines)
            self._places[run.run_id] = _Place(offset, self._num_lines, run.is_done)
            offset += len(line)


def _line(run: StoredRun) -> bytes:
    entry: dict[str, object] = {"run_id": run.run_id, "row": {name: _json_cell(cell) for name, cell in run.row.items()}}
    if run.reason:
        entry["reason"] = run.reason
    if run.layers:
        entry["layers"] = [{name: _json_cell(cell) for name, cell in row.items()} for row in run.layers]
    entry["curves"] = {
        name: values if all(map(math.isfinite, values)) else [_json_cell(value) for value in values]
        for name, values in run.curves.items()
    }
    return _encoder.encode(entry).encode() + b"\n"


def _json_cell(cell: TableCell) -> TableCell:
    return repr(cell) if isinstance(cell, float) and not math.isfinite(cell) else cell


def _head(line: bytes) -> bytes:
    """The line without its curves."""
    head, found, _ = line.partition(_CURVES)
    return head + _CURVES + b"{}}" if found else line


def _parse(line: bytes, path: Path, number: int) -> StoredRun:
    try:
        entry = json.loads(line)
        row = _read_row(entry["row"])
        if "status" not in row:
            raise ValueError
        layers = tuple(_read_row(layer) for layer in entry.get("layers", ()))
        return StoredRun(entry["run_id"], row, _read_curves(entry["curves"]), entry.get("reason", ""), layers)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damage_error(path, number) from None


def _read_row(row: Mapping[str, TableCell]) -> dict[str, TableCell]:
    return {n: float(c) if n not in _TEXT and c in NOT_FINITE else c for n, c in row.items()}


def _curve_spellings(line: bytes) -> dict[str, list[str]]:
    curves: dict[str, list[str]] = _digits.decode(line[line.index(_CURVES) + len(_CURVES) : line.rindex(b"}")].decode())
    lengths = {len(values) if isinstance(values, list) else None for values in curves.values()}
    if len(lengths) > 1 or None in lengths:
        raise ValueError
    return curves


def _read_curves(curves: dict[str, list[float | str]]) -> dict[str, list[float]]:
    return {
        name: [float(value) if isinstance(value, str) else value for value in values] for name, values in curves.items()
    }


def _damage_error(path: Path, number: int) -> DataError:
    return DataError(
        f"{path}, line {number}, is not the record of a run: the file was changed or its disk is damaged. "
        f"Delete that line to train its run again, or give {mention('fresh', True)} to set the whole directory aside."
    )


def _end_of_whole_lines(file: IO[bytes]) -> int:
    """The offset after the last newline; anything beyond it was torn by a crash."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
