"""The meaning of a column of targets: numbers to estimate, or classes to tell apart.

Text is classes. Whole numbers are classes if there are 2 different ones, or 3 to 20 with two rows or more each on
average; all other numbers are regression targets. Two classes are `binary`, more are `multiclass`. The setting `task`
overrides this rule. Classes are in the order of their numbers, or of the alphabet.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from nnlab.core.errors import DataError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.wording import quoted_names

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nnlab.data.dataset import Targets
    from nnlab.settings import Task

    TargetValues = npt.NDArray[np.float64 | np.object_]
else:
    np = lazy("numpy")

MOST_NUMBERED_CLASSES: Final = 20

TaskChoice = Literal["auto", "regression", "binary", "multiclass", "reconstruction"]


@dataclass(frozen=True, eq=False)
class Target:
    """Targets ready for a Dataset.

    Attributes:
        y: [N] numbers, or class indices.
        task: what is predicted.
        class_names: in the order of the indices; () where there are no classes.
    """

    y: Targets
    task: Task
    class_names: tuple[str, ...]


def target_of(values: TargetValues, task: TaskChoice, *, place: str) -> Target:
    """The Target for `values` [N], float64 or text.

    Args:
        values: none of them missing.
        task: `auto` for the rule above; `reconstruction` ignores the values.
        place: where the values come from, for messages (`my.csv, column 'age'`).

    Raises:
        DataError: one value only, or values that do not fit `task`.
    """
    if task == "reconstruction":
        return Target(np.zeros(len(values)), task, ())
    distinct, indices = np.unique(values, return_inverse=True)
    if len(distinct) < 2:
        raise DataError(f"{place} has one value, {distinct[0]!s}, in every row. Expected two or more to tell apart.")
    meant = _infer_task(distinct, len(values)) if task == "auto" else task
    if meant == "regression":
        if distinct.dtype.kind != "f":
            raise DataError(
                f"{place} has text such as {distinct[0]!r}. Expected numbers for {mention('task', 'regression')}."
            )
        return Target(values.astype(np.float64), "regression", ())
    names = _class_names(distinct)
    if meant == "binary" and len(names) != 2:
        raise DataError(
            f"{place} has {len(names)} classes: {quoted_names(names, 5)}. Expected two for {mention('task', 'binary')}."
        )
    return Target(indices.astype(np.int64), meant, names)


def _infer_task(distinct: npt.NDArray[np.generic], num_rows: int) -> Task:
    if len(distinct) == 2 and (distinct.dtype.kind != "f" or _all_whole(distinct)):
        return "binary"
    if distinct.dtype.kind != "f":
        return "multiclass"
    few = len(distinct) <= min(MOST_NUMBERED_CLASSES, num_rows // 2)
    return "multiclass" if few and _all_whole(distinct) else "regression"


def _all_whole(distinct: npt.NDArray[np.generic]) -> bool:
    return bool(np.all(distinct == np.floor(distinct.astype(np.float64))))


def _class_names(distinct: npt.NDArray[np.generic]) -> tuple[str, ...]:
    if distinct.dtype.kind != "f":
        return tuple(str(name) for name in distinct)
    return tuple(
        f"{value:.0f}" if _all_whole(distinct) else repr(float(value)) for value in distinct.astype(np.float64)
    )
