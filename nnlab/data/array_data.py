"""A person's own arrays, from an .npz file or a function, as a data set: `x` [N, ...] and `y` [N].

A validation part (`x_val`, `y_val`) and a test part (`x_test`, `y_test`) are optional. Rows of any shape are flattened.
`y` may be numbers, whole numbers or text (targets.py says what they mean). In reconstruction `y` is ignored and may be
absent.

Shapes: N rows, D numbers a row.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Final

from nnlab.core.errors import DataError, did_you_mean
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, FeatureColumn
from nnlab.data.targets import target_of
from nnlab.data.wording import dropped_rows_note, file_error, other_ways, quoted_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from nnlab.data.dataset import Floats, GivenPart, Missing
    from nnlab.data.targets import TargetValues, TaskChoice

    Array = npt.NDArray[np.generic]
else:
    np = lazy("numpy")
    pd = lazy("pandas")

ARRAYS: Final = ("x", "y", "x_val", "y_val", "x_test", "y_test")
PARTS: Final[tuple[GivenPart, ...]] = ("val", "test")


def npz_dataset(path: Path, *, task: TaskChoice, missing: Missing) -> Dataset:
    """The data set in an .npz file.

    Raises:
        DataError: what is wrong, in which array, and what was expected.
    """
    axes = "x" if task == "reconstruction" else "xy"
    return arrays_dataset(load_arrays(path, axes=axes), place=str(path), task=task, missing=missing)


def arrays_dataset(arrays: Mapping[str, Array], *, place: str, task: TaskChoice, missing: Missing) -> Dataset:
    """The data set that these named arrays make.

    Args:
        arrays: `x`, `y`, and those of the parts given.
        place: where they come from, for messages.
        task: what is predicted; `auto` infers it from the targets.
        missing: how missing numbers are handled.

    Raises:
        DataError: what is wrong, in which array, and what was expected.
    """
    if task == "reconstruction":
        arrays = _set_targets_to_zero(arrays)
    row_shape = arrays["x"].shape[1:]
    suffixes = ["", *(f"_{part}" for part in PARTS if f"x_{part}" in arrays)]
    read = {suffix: _read_part(place, arrays, suffix, row_shape) for suffix in suffixes}
    kept = {suffix: _handle_missing(place, suffix, x, y, missing) for suffix, (x, y) in read.items()}
    num_read, num_kept = (sum(len(y) for _, y in parts.values()) for parts in (read, kept))
    wanted = target_of(np.concatenate([y for _, y in kept.values()]), task, place=f"{place}, y")
    ends = np.cumsum([len(y) for _, y in kept.values()])
    targets = dict(zip(kept, np.split(wanted.y, ends[:-1]), strict=True))
    x = kept[""][0]
    return Dataset(
        x=x,
        y=targets[""],
        task=wanted.task,
        columns=tuple(FeatureColumn(f"x{index}") for index in range(x.shape[1])),
        row_shape=row_shape or (1,),
        class_names=wanted.class_names,
        given={part: (kept[f"_{part}"][0], targets[f"_{part}"]) for part in PARTS if f"_{part}" in kept},
        standardize=True,
        missing=missing,
        notes=dropped_rows_note(num_read - num_kept, num_read),
    )


def _set_targets_to_zero(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The inputs of every part, with zeros as targets, which reconstruction replaces."""
    inputs = {name: array for name, array in arrays.items() if name.startswith("x")}
    return inputs | {f"y{name[1:]}": np.zeros(array.shape[:1]) for name, array in inputs.items()}


def load_arrays(path: Path, *, axes: str = "xy") -> Mapping[str, Array]:
    """The arrays of an .npz file, all of known names.

    Args:
        path: the file.
        axes: `xy` if `x` and `y` are needed, and of each part both or none; `x` if the inputs are enough.
    """
    try:
        with path.open("rb") as file:
            archive = np.lib.npyio.NpzFile(file, allow_pickle=False)
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise file_error(path, error) from None
    for name in arrays:
        if name not in ARRAYS:
            near = did_you_mean(name, ARRAYS)
            raise DataError(f"{path}: array {name!r} is not known.{near} Accepted: {', '.join(ARRAYS)}.")
    parts = {name.partition("_")[2] for name in arrays if "_" in name}
    wanted = [*axes, *(f"{axis}_{part}" for part in sorted(parts) for axis in axes)]
    absent = [name for name in wanted if name not in arrays]
    if absent:
        raise DataError(
            f"{path} has no array {absent[0]!r}. Expected {', '.join(wanted)}; it has {quoted_names(list(arrays))}."
        )
    return arrays


def flat_rows(x: Array, row_shape: tuple[int, ...], *, place: str) -> Floats:
    """An array `x` [N, *row_shape] as [N, D] float64; NaN stays.

    Args:
        x: as read.
        row_shape: the shape that each row must have.
        place: its file and name, for messages.
    """
    if x.dtype.kind not in "biuf":
        raise DataError(f"{place} has type {x.dtype}. Expected real numbers.")
    if x.ndim == 0 or x.size == 0 or x.shape[1:] != row_shape:
        expected = ", ".join(["rows", *(map(str, row_shape) if x.size else ["..."])])
        raise DataError(f"{place} has shape {list(x.shape)}. Expected [{expected}], with at least one row.")
    rows = x.reshape(len(x), -1).astype(np.float64)
    infinite = np.isinf(rows).any(axis=1)
    if infinite.any():
        raise DataError(f"{place}, row {int(infinite.argmax())} has an infinite number. Expected finite ones.")
    return rows


def _read_part(
    place: str, arrays: Mapping[str, Array], suffix: str, row_shape: tuple[int, ...]
) -> tuple[Floats, TargetValues]:
    """x [N, D] as float64, and y [N] as float64 or text."""
    x = flat_rows(arrays[f"x{suffix}"], row_shape, place=f"{place}, x{suffix}")
    y, of_y = arrays[f"y{suffix}"], f"{place}, y{suffix}"
    if y.shape not in ((len(x),), (len(x), 1)):
        raise DataError(
            f"{of_y} has shape {list(y.shape)}. Expected [{len(x)}]: a number, class index or class name for each"
            f" row of x{suffix}."
        )
    if y.dtype.kind not in "biufU":
        raise DataError(f"{of_y} has type {y.dtype}. Expected numbers or text.")
    if y.dtype.kind == "U":
        return x, y.reshape(-1).astype(object)
    targets = y.reshape(-1).astype(np.float64)
    if np.isinf(targets).any():
        raise DataError(f"{of_y}, row {int(np.isinf(targets).argmax())} is infinite. Expected finite numbers.")
    return x, targets


def _handle_missing(
    place: str, suffix: str, x: Floats, y: TargetValues, missing: Missing
) -> tuple[Floats, TargetValues]:
    """The rows of a part after missing numbers are handled: dropped, left for the training part's means, or refused."""
    no_target = pd.isna(y)
    absent = no_target if missing == "mean" else no_target | np.isnan(x).any(axis=1)
    if missing == "drop":
        if absent.all():
            raise DataError(f"{place}: every row of x{suffix} has a NaN, so {mention('missing', 'drop')} leaves none.")
        return x[~absent], y[~absent]
    if absent.any():
        row = int(absent.argmax())
        name = "y" if no_target[row] else "x"
        raise DataError(
            f"{place}, {name}{suffix}, row {row} has NaN. Expected a number; fill it in, or say {other_ways(missing)}."
        )
    return x, y
