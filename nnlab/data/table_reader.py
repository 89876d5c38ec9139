"""Reading a person's table, .csv or .parquet, into text and numbers, with the place of every cell for exact messages.

A .csv has a line of column names, then one line for each row, separated by commas, in UTF-8. The csv module cuts it
into cells, not pandas: pandas silently fills a row that is too short, and does not say on which line a cell stands.
A cell that holds one of MISSING_MARKS is missing. A column is numeric if more than half of its cells that are not
missing are numbers; then all must be.

Shapes: N rows.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import DataError, did_you_mean
from nnlab.core.lazy import lazy
from nnlab.data.wording import file_error, quoted_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from nnlab.data.dataset import Indices
else:
    np = lazy("numpy")
    pd = lazy("pandas")

MISSING_MARKS: Final = frozenset({"", "?", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"})
MARKS_IN_WORDS: Final = "empty, ?, NA, N/A, NaN or NULL"


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of cells.

    Attributes:
        path: the file.
        frame: [N, columns]; numbers as float64, everything else as text; None or NaN where a cell is missing.
        lines: [N] the place of each row in the file.
        unit: the unit of `lines`: `line` in a .csv, `row` in a .parquet.
    """

    path: Path
    frame: pd.DataFrame
    lines: Indices
    unit: str

    def place(self, row: int, column: str) -> str:
        """`my.csv, line 7, column 'age'`."""
        return f"{self.path}, {self.unit} {self.lines[row]}, column {column!r}"

    def cells(self, column: str, *, what: str) -> pd.Series:
        """A column by its name, or a DataError that lists the columns.

        Args:
            column: its name.
            what: the subject of the message: `mention("target", "age")`, or other words.
        """
        if column not in self.frame.columns:
            names = [str(name) for name in self.frame.columns]
            raise DataError(
                f"{what} is not a column of {self.path}.{did_you_mean(column, names)} Its columns: {quoted_names(names)}."
            )
        return self.frame[column]

    def without_rows(self, dropped: npt.NDArray[np.bool_]) -> Table:
        """The same table without the rows where `dropped` [N] is true."""
        keep = ~dropped
        return Table(self.path, self.frame[keep].reset_index(drop=True), self.lines[keep], self.unit)

    def without_column(self, column: str) -> Table:
        """The same table without a column."""
        return replace(self, frame=self.frame.drop(columns=column))


def numbers_or_text(table: Table, column: str) -> pd.Series:
    """The column as float64 if it is numeric, else as text; missing cells are NaN or None.

    Raises:
        DataError: no cell at all, text among numbers, an infinite number.
    """
    cells = table.frame[column]
    given = cells[cells.notna()]
    if given.empty:
        raise DataError(f"{table.path}, column {column!r} has no value in any row. Remove the column.")
    parsed = pd.to_numeric(given, errors="coerce")
    return numbers(table, column) if parsed.notna().mean() > 0.5 else cells.astype(object)


def numbers(table: Table, column: str) -> pd.Series:
    """The column as float64; missing cells are NaN.

    Raises:
        DataError: a cell that is not a finite number.
    """
    cells = table.frame[column]
    parsed = pd.to_numeric(cells, errors="coerce").astype(np.float64)
    wrong = (cells.notna() & ~np.isfinite(parsed)).to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{table.place(row, column)}: {str(cells.iloc[row])!r} is not a finite number. Expected a number, as in"
            f" the rest of the column; a missing one is written {MARKS_IN_WORDS}."
        )
    return parsed


def read_table(path: Path) -> Table:
    """The table in a .csv or .parquet file.

    Raises:
        DataError: what is wrong, where, and what was expected.
    """
    return read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)


def read_csv(path: Path) -> Table:
    """The table in a .csv file, every cell still text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            records = list(_records(file, path))
    except OSError as error:
        raise file_error(path, error) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it as CSV in UTF-8.") from None
    if not records:
        raise DataError(f"{path} is empty. Expected a line of column names, then one line for each row.")
    names = _column_names(path, *records[0])
    for line, cells in records:
        if len(cells) != len(names):
            raise DataError(
                f"{path}, line {line}: {len(cells)} cells. Expected {len(names)}, one for each column name; a cell with"
                " a comma in it goes in double quotes."
            )
    if len(records) == 1:
        raise DataError(f"{path} has column names in line {records[0][0]} and no row. Expected one line for each row.")
    columns = zip(*(cells for _, cells in records[1:]), strict=True)
    texts = {name: pd.Series(_texts(cells), dtype=object) for name, cells in zip(names, columns, strict=True)}
    return Table(path, pd.DataFrame(texts), np.array([line for line, _ in records[1:]]), "line")


def read_parquet(path: Path) -> Table:
    """The table in a .parquet file, without its index."""
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        raise DataError(f"{path}: reading .parquet needs pyarrow. Run `pip install pyarrow`, or save a .csv.") from None
    except (OSError, ValueError) as error:
        raise file_error(path, error) from None
    if frame.empty:
        raise DataError(f"{path} has no rows. Expected at least one.")
    frame = frame.reset_index(drop=True)
    frame.columns = [str(name) for name in frame.columns]
    columns = {name: _parquet_column(path, frame[name]) for name in frame.columns}
    return Table(path, pd.DataFrame(columns), np.arange(1, len(frame) + 1), "row")


def _records(file: Iterator[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each record that is not blank; a record may span lines, `line` is its first."""
    reader = csv.reader(file, strict=True)
    start = 1
    try:
        for cells in reader:
            if len(cells) > 1 or (cells and cells[0].strip()):
                yield start, [cell.strip() for cell in cells]
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f'{path}, line {start}: {error}. Expected cells separated by commas, quoted with " where needed.'
        ) from None


def _column_names(path: Path, line: int, names: list[str]) -> list[str]:
    place = f"{path}, line {line}"
    separator = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if separator is not None:
        raise DataError(f"{place}: separated by {separator!r}. Expected commas; save it as comma-separated CSV.")
    if "" in names:
        raise DataError(f"{place}: column {names.index('') + 1} has no name. Expected a name for every column.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{place}: column name {twice!r} appears twice. Expected distinct names.")
    if pd.to_numeric(pd.Series(names, dtype=object), errors="coerce").notna().all():
        raise DataError(f"{place}: numbers ({quoted_names(names, 3)}). Expected the column names in the first line.")
    return names


def _texts(cells: Sequence[str]) -> list[str | None]:
    return [None if cell in MISSING_MARKS else cell for cell in cells]


def _parquet_column(path: Path, cells: pd.Series) -> pd.Series:
    """A column of a .parquet as float64 or text; a truth value becomes the text `true` or `false`, a time ISO text."""
    kinds = pd.api.types
    if kinds.is_bool_dtype(cells):
        return cells.map({True: "true", False: "false"}).astype(object)
    if kinds.is_numeric_dtype(cells) and not kinds.is_complex_dtype(cells):
        return pd.Series(cells.astype("Float64").to_numpy(np.float64, na_value=np.nan))
    if kinds.is_datetime64_any_dtype(cells):
        return cells.map(lambda time: time.isoformat(), na_action="ignore").astype(object)
    texts = cells.astype(object)
    given = texts[texts.notna()]
    if not given.map(lambda cell: isinstance(cell, str)).all():
        raise DataError(
            f"{path}, column {cells.name!r} has cells of type {cells.dtype}. Expected numbers, text or times."
        )
    return texts.map(lambda cell: None if cell.strip() in MISSING_MARKS else cell.strip(), na_action="ignore")
