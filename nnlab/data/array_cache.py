"""Arrays that took time to make, kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt

    NamedArrays = dict[str, npt.NDArray[np.generic]]
else:
    np = lazy("numpy")


def cache_folder() -> Path:
    """The folder of the cache: $NNLAB_CACHE_DIR, or the user's cache folder."""
    given = os.environ.get("NNLAB_CACHE_DIR")
    if given:
        return Path(given)
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("nnlab"))


def load_or_make(name: str, shapes: Mapping[str, tuple[int, ...]], make: Callable[[], NamedArrays]) -> NamedArrays:
    """Arrays of these names and shapes from the cache; if it has no intact file, they are made and stored there."""
    path = cache_folder() / f"{name}.npz"
    arrays = _load(path, shapes)
    if arrays is None:
        arrays = make()
        with contextlib.suppress(OSError):  # a read-only home costs time, nothing else
            _write(path, arrays)
    return arrays


def _load(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> NamedArrays | None:
    """The arrays in `path`, or None if it is absent or broken: the archive's checksums and the shapes must be right."""
    try:
        # np.load given a path leaves the file open if it is broken.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in shapes}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if {name: array.shape for name, array in arrays.items()} == shapes else None


def _write(path: Path, arrays: NamedArrays) -> None:
    """Write an archive so that no reader ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
