"""A person's own data: a function `FILE.py:NAME` that returns arrays, tensors or a torch Dataset.

Targets of an integer type and text are classes, targets of a floating-point type are to be estimated; the setting `task`
overrides this. Everything else is as with an .npz file: rows of any shape are stored flat, and standardised by the
training part unless the setting `standardize` is false.

Shapes: N rows, of any shape.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from nnlab.catalog.custom import blame, load_function
from nnlab.catalog.entry import key_values, keys
from nnlab.core.errors import DataError, UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.array_data import arrays_dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    import torch

    from nnlab.core.spec import Spec
    from nnlab.data.array_data import Array
    from nnlab.data.dataset import Dataset, Missing
    from nnlab.data.targets import TaskChoice
else:
    np = lazy("numpy")
    torch = lazy("torch")

EXPECTED: Final = (
    "Expected (x, y), (x_train, y_train, x_test, y_test), a torch Dataset whose rows are (x, y), or two: train, test"
)
_ARRAYS: Final[Mapping[int, tuple[str, ...]]] = {2: ("x", "y"), 4: ("x", "y", "x_test", "y_test")}
_SETS: Final = ("", "_test")


@runtime_checkable
class ArrayLike(Protocol):
    """Anything that NumPy can read: its own arrays, tensors, tables of pandas."""

    def __array__(self) -> object: ...


@runtime_checkable
class MapStyleDataset(Protocol):
    """A data set that gives each row by its index, as PyTorch's map-style data sets do."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> object: ...


@dataclass(frozen=True)
class OwnData:
    """A person's own function, as an entry of the catalogue."""

    function: Callable[..., object]


def own_data(spec: Spec) -> OwnData:
    """The function that the specification FILE.py:NAME names.

    Raises:
        UsageError: no such file or function, or a function that can't be called with its keys alone.
    """
    function = load_function(spec.name, what=mention("data"))
    try:
        inspect.signature(function).bind(**dict.fromkeys(keys(function)))
    except TypeError as error:
        raise UsageError(
            f"{mention('data', spec.name)} is called with its keys alone: {error}. Keys stand after a * and are"
            " annotated float, int, bool or str, as in def rows(*, samples: int = 100)."
        ) from None
    return OwnData(function)


def own_dataset(spec: Spec, *, task: TaskChoice, missing: Missing) -> Dataset:
    """The data set that a person's own function returns for the keys of its specification.

    Raises:
        UsageError: no such function or key, or a function that fails.
        DataError: it does not return a data set: what is wrong, and what was expected.
    """
    function = own_data(spec).function
    values = key_values(function, spec, what=mention("data"))
    with blame(spec.name, f"{mention('data')} {spec.name!r}"):
        given = function(**values)
    arrays = _arrays(given, place=spec.name)
    return arrays_dataset(arrays, place=spec.name, task=_task(arrays, task), missing=missing)


def _arrays(given: object, *, place: str) -> dict[str, Array]:
    """The arrays `x`, `y`, and `x_test`, `y_test` if there is a test part, of the value that the function returned."""
    parts = tuple(given) if isinstance(given, tuple | list) else (given,)
    if len(parts) in _ARRAYS and all(isinstance(part, ArrayLike | list) for part in parts):
        return {name: _array(part, f"{place}, {name}") for name, part in zip(_ARRAYS[len(parts)], parts, strict=True)}
    if len(parts) <= len(_SETS) and all(_is_set(part) for part in parts):
        return {
            f"{axis}{suffix}": array
            for suffix, part in zip(_SETS, parts, strict=False)
            for axis, array in zip("xy", _columns(part, place), strict=True)
        }
    words = f"({', '.join(type(part).__name__ for part in parts)})" if len(parts) > 1 else type(given).__name__
    raise DataError(f"{place} gives {words}. {EXPECTED}.")


def _is_set(part: object) -> bool:
    return isinstance(part, MapStyleDataset) and not isinstance(part, ArrayLike | list | tuple | dict | str)


def _columns(rows: MapStyleDataset, place: str) -> tuple[Array, Array]:
    """The inputs and the targets of all rows of a data set."""
    if len(rows) == 0:
        raise DataError(f"{place} gives a {type(rows).__name__} without rows. Expected at least one.")
    pairs = list(_pairs(rows, place))
    for index, (x, _) in enumerate(pairs):
        if x.shape != pairs[0][0].shape:
            raise DataError(
                f"{place}, row {index} has shape {list(x.shape)}. Expected {list(pairs[0][0].shape)}, as row 0 has."
            )
    return np.stack([x for x, _ in pairs]), np.stack([y for _, y in pairs])


def _pairs(rows: MapStyleDataset, place: str) -> Iterator[tuple[Array, Array]]:
    for index in range(len(rows)):
        row = rows[index]
        if not isinstance(row, tuple | list) or len(row) != 2:
            raise DataError(f"{place}, row {index} is a {type(row).__name__}. Expected (x, y).")
        x, y = row
        yield _array(x, f"{place}, row {index}, x"), _array(y, f"{place}, row {index}, y")


def _array(values: object, place: str) -> Array:
    """An array of anything that NumPy or PyTorch can read; text as NumPy's own text."""
    # In this order, so that torch is not loaded for arrays and lists.
    if not isinstance(values, np.ndarray | list) and isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        return np.asarray(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
    try:
        array: Array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place} is not an array: {str(error).rstrip('.')}.") from None
    is_text = array.dtype == object and all(isinstance(value, str) for value in array.flat)
    return array.astype(str) if is_text else array


def _task(arrays: Mapping[str, Array], task: TaskChoice) -> TaskChoice:
    """The task that the type of the targets implies, if `task` is `auto` and they are numbers; else `task`."""
    y = np.concatenate([array.reshape(-1) for name, array in arrays.items() if name.startswith("y")])
    if task != "auto" or y.dtype.kind not in "biuf":
        return task
    if y.dtype.kind == "f":
        return "regression"
    return "binary" if len(np.unique(y)) == 2 else "multiclass"
