"""A data set as every layer above sees it: rows of numbers, the targets to predict, and the names of both.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from nnlab.settings import Task

    Floats = npt.NDArray[np.float64]
    Indices = npt.NDArray[np.int64]
    Targets = npt.NDArray[np.float64 | np.int64]
else:
    np = lazy("numpy")

Missing = Literal["error", "drop", "mean"]
GivenPart = Literal["val", "test"]

NOTHING_GIVEN: Final[Mapping[GivenPart, tuple[Floats, Targets]]] = {}


@dataclass(frozen=True)
class FeatureColumn:
    """A column to predict from: it becomes one feature, or one indicator feature for each category.

    Attributes:
        name: as the table names it.
        categories: the texts that a cell may hold, sorted; None for a column of numbers.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its features: `age`, or `colour=blue` and `colour=red`."""
        if self.categories is None:
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True, eq=False)
class SplitColumn:
    """The column that a split `group:COLUMN` or `time:COLUMN` goes by. It is not a feature: it would identify rows.

    Attributes:
        name: of the column.
        values: [N] numbers; equal numbers are one group, larger ones are later.
    """

    name: str
    values: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Dataset:
    """Rows to learn from, before any split, standardisation or noise. Depends on its specification alone.

    Attributes:
        x: inputs [N, D]; categories are indicators already, a missing cell is NaN (only where `missing` is `mean`).
        y: targets [N]: float64 for regression, the class index 0..C-1 as int64 for classes (binary: 0 and 1). For
            reconstruction the inputs themselves, [N, D].
        task: what is predicted.
        columns: the columns to predict from, in order; their features are the columns of `x`.
        row_shape: shape of one row before it was flattened to D numbers: (D,), (channels, steps) or (channels, height, width).
        target_name: the name of the targets.
        class_names: C names; () where there are no classes.
        given: parts that the data set brings itself, as (x, y).
        standardize: whether inputs and regression targets are to be scaled by the training part: true for tables.
        missing: how missing cells are handled.
        split_column: the column that the split goes by, where it goes by one.
        notes: sentences to show to the user (rows dropped).
    """

    x: Floats
    y: Targets
    task: Task
    columns: tuple[FeatureColumn, ...]
    row_shape: tuple[int, ...]
    target_name: str = "y"
    class_names: tuple[str, ...] = ()
    given: Mapping[GivenPart, tuple[Floats, Targets]] = field(default_factory=dict)
    standardize: bool = False
    missing: Missing = "error"
    split_column: SplitColumn | None = None
    notes: tuple[str, ...] = ()

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The D names of the columns of `x`."""
        return tuple(name for column in self.columns for name in column.features)

    @property
    def num_classes(self) -> int:
        """C; 0 where there are no classes."""
        return len(self.class_names)

    @property
    def has_classes(self) -> bool:
        """True if the target is a class."""
        return self.task in ("binary", "multiclass")

    def fingerprint(self) -> str:
        """SHA-256, in hex, of everything that a run's numbers can depend on."""
        digest = hashlib.sha256()
        words = (self.task, self.feature_names, self.class_names, self.standardize, self.missing, sorted(self.given))
        digest.update(repr((*words, self.row_shape)).encode())
        arrays = [self.x, self.y, *(array for name in sorted(self.given) for array in self.given[name])]
        if self.split_column is not None:
            arrays.append(self.split_column.values)
        for array in arrays:
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def dataset_from_arrays(
    x: Floats,
    y: Targets,
    task: Task,
    *,
    feature_names: tuple[str, ...] = (),
    class_names: tuple[str, ...] = (),
    given: Mapping[GivenPart, tuple[Floats, Targets]] = NOTHING_GIVEN,
    standardize: bool = False,
    row_shape: tuple[int, ...] = (),
) -> Dataset:
    """The Dataset of these arrays; without names given, features are called x0, x1, ... and classes 0, 1, ..."""

    def targets(y: Targets) -> Targets:
        return y.astype(np.float64) if task == "regression" else y.astype(np.int64)

    if task != "regression" and not class_names:
        class_names = tuple(str(index) for index in range(int(y.max()) + 1))
    names = feature_names or tuple(f"x{index}" for index in range(x.shape[1]))
    return Dataset(
        x=np.ascontiguousarray(x, dtype=np.float64),
        y=targets(y),
        task=task,
        columns=tuple(FeatureColumn(name) for name in names),
        row_shape=row_shape or (x.shape[1],),
        class_names=class_names,
        given={part: (part_x.astype(np.float64), targets(part_y)) for part, (part_x, part_y) in given.items()},
        standardize=standardize,
    )


def reconstruction_dataset(dataset: Dataset) -> Dataset:
    """The same rows with themselves as targets; the data set's own targets are left out."""
    return replace(
        dataset,
        y=dataset.x,
        task="reconstruction",
        target_name="x",
        class_names=(),
        given={part: (x, x) for part, (x, _) in dataset.given.items()},
    )
