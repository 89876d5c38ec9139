"""Wording shared by the messages about a person's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnlab.core.errors import DataError
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nnlab.data.dataset import Missing


def quoted_names(names: Sequence[str], most: int = 20) -> str:
    """The first `most` names in quotes, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more


def file_error(path: Path, error: Exception) -> DataError:
    """The error for a file that does not exist, or does not contain what its suffix says."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{path} does not exist. Give the path of a .csv, .npz or .parquet file, or a name of `nnlab list data`."
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
    return DataError(f"{path} can't be read: {reason}.")


def other_ways(missing: Missing) -> str:
    """The other values of the setting `missing` that would accept a missing cell: `drop`, and `mean` unless it is in use."""
    drop = mention("missing", "drop")
    return drop if missing == "mean" else f"{drop} or {mention('missing', 'mean')}"


def dropped_rows_note(num_dropped: int, num_rows: int) -> tuple[str, ...]:
    """One sentence if rows were dropped, else none."""
    if num_dropped == 0:
        return ()
    return (f"{num_dropped} of {num_rows} rows have a missing cell and were dropped.",)
