"""A data set as every layer above sees it: rows of numbers, what is to be predicted, and where both came from.

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
class Column:
    """A column of a table: one feature, or one indicator feature for each category.

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
    """The column that `--split group:COLUMN` or `time:COLUMN` goes by. It is no feature: it would tell on the rows.

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
        columns: the table's columns, in order; their features are the columns of `x`.
        target_name: what `y` is called.
        class_names: C names; () where there are no classes.
        given: parts that the data brings of its own, as (x, y).
        standardize: whether inputs and regression targets are to be scaled by the training part: true for tables.
        missing: what was asked for missing cells.
        row_shape: shape of one row before it was flattened to D numbers: (D,), (channels, steps) or (channels, height, width).
        split_column: what `--split group:` or `time:` goes by.
        notes: what the person should hear of (rows dropped).
    """

    x: Floats
    y: Targets
    task: Task
    columns: tuple[Column, ...]
    target_name: str = "y"
    class_names: tuple[str, ...] = ()
    given: Mapping[GivenPart, tuple[Floats, Targets]] = field(default_factory=dict)
    standardize: bool = False
    missing: Missing = "error"
    row_shape: tuple[int, ...] = ()
    split_column: SplitColumn | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.row_shape:
            object.__setattr__(self, "row_shape", (self.x.shape[1],))

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
        """Whether it is a class that is predicted."""
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


def from_arrays(
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
    """A Dataset of arrays: features are called x0, x1, ... and classes 0, 1, ... where no names are given."""

    def typed(y: Targets) -> Targets:
        return y.astype(np.float64) if task == "regression" else y.astype(np.int64)

    if task != "regression" and not class_names:
        class_names = tuple(str(index) for index in range(int(y.max()) + 1))
    names = feature_names or tuple(f"x{index}" for index in range(x.shape[1]))
    return Dataset(
        x=np.ascontiguousarray(x, dtype=np.float64),
        y=typed(y),
        task=task,
        columns=tuple(Column(name) for name in names),
        class_names=class_names,
        given={part: (px.astype(np.float64), typed(py)) for part, (px, py) in given.items()},
        standardize=standardize,
        row_shape=row_shape,
    )


def reconstructed(dataset: Dataset) -> Dataset:
    """The same rows with themselves as targets, whatever was predicted of them."""
    return replace(
        dataset,
        y=dataset.x,
        task="reconstruction",
        target_name="x",
        class_names=(),
        given={part: (x, x) for part, (x, _) in dataset.given.items()},
    )
