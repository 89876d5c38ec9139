"""One process at a time for each results directory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import RefusedError
from nnlab.core.spelling import mention
from nnlab.storage.writing import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK: Final = ".lock"


@contextmanager
def hold_directory(directory: Path) -> Iterator[None]:
    """Context manager: hold the directory for this process; the system releases it if the process dies.

    Raises:
        RefusedError: another process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    with disk_errors(directory):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RefusedError(
                f"{directory} is in use by another nnlab. Wait until it is done, or give another {mention('out')} or {mention('name')}."
            ) from None
    try:
        yield
    finally:
        lock.release()
