"""Writing so that a file is never half there, and saying in words why a disk refuses."""

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
    """Turn what the system says about a file into words for the user.

    Args:
        path: what is being read or written, where the system doesn't name it itself.
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
    """A text file that becomes `path` when the block ends well; until then, and if it ends badly, the old one stays.

    The new text stands in a hidden file beside it, with one name for each `path`: what a crash leaves there, the next
    writing overwrites. One process at a time may write a file; `locked` sees to that.
    """
    beside = path.with_name(f".{path.name}.tmp")
    with disk_errors(path):
        try:
            # A file name that is no UTF-8 is written with escapes, so that the file itself always is.
            with beside.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove what a crash in the middle of `replace_file` left in the directory."""
    for leftover in directory.glob(".*.tmp"):
        leftover.unlink()
