"""Writing files so that none is ever half there, and saying in words why a disk refuses."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

from nnlab.core.errors import PartialError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(path: Path, *, advice: str = "") -> Iterator[None]:
    """Context manager: turn the system's errors about a file into messages for the user.

    Args:
        path: the file being read or written, if the system's error does not name it.
        advice: what to do about a path that can't be used.

    Raises:
        PartialError: the disk is full.
        UsageError: the path can't be read or written.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if error.errno in _FULL:
            raise PartialError(
                f"{where} can't be written: no space is left on its disk. What was recorded before is safe: "
                "make room and give the same command again."
            ) from None
        raise UsageError(f"{where} can't be read or written: {error.strerror}. {advice}".rstrip()) from None


@contextmanager
def replace_file(path: Path) -> Iterator[TextIO]:
    """Context manager: a text file that becomes `path` if the block succeeds; until then, and if it fails, the old file stays.

    The new text goes to a hidden file beside it, with one name for each `path`: the next write overwrites what a crash left
    there. Only one process at a time may write a file; `hold_directory` ensures that.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            # A file name that is not UTF-8 is written with escapes, so that the file itself always is UTF-8.
            with beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files that a crash inside `replace_file` left in the directory."""
    for leftover in directory.glob(".*.tmp"):
        leftover.unlink()
