"""Loading what the setting `data` names: a data set of the table, a file of rows, or a person's own function."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab.catalog.custom import is_custom
from nnlab.catalog.entry import Entry, find
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.spelling import mention
from nnlab.data.array_data import npz_dataset
from nnlab.data.dataset import Dataset, Missing, reconstruction_dataset
from nnlab.data.named_data import DATA, named_dataset
from nnlab.data.own_data import own_data, own_dataset
from nnlab.data.splits import AUTO, Split, set_aside
from nnlab.data.table_data import table_dataset

if TYPE_CHECKING:
    from nnlab.core.spec import Spec
    from nnlab.data.targets import TaskChoice


TABLES: Final = (".csv", ".parquet")
SUFFIXES: Final = (*TABLES, ".npz")


def load(
    spec: Spec,
    *,
    target: str | None = None,
    task: TaskChoice = "auto",
    missing: Missing = "error",
    split: Split = AUTO,
) -> Dataset:
    """The data set that `spec` names; its content depends on these arguments alone, never on a run's seed.

    Args:
        spec: a name with keys, the path of a .csv, .npz or .parquet file, or a person's own FILE.py:NAME.
        target: the column of a table to predict; in reconstruction, which predicts none, a column to leave out.
        task: what is predicted; `auto` infers it from the data. `reconstruction` makes targets of any data's inputs.
        missing: how missing cells of a file are handled.
        split: if it goes by a column, that column is not a feature.

    Raises:
        UsageError: a name or key that is not known, an option that does not go with the data.
        DataError: a file that can't be used.
    """
    dataset = _load_as_named(spec, target=target, task=task, missing=missing, split=split)
    if split.column is not None and _suffix(spec) not in TABLES:
        dataset = set_aside(dataset, split)
    return reconstruction_dataset(dataset) if task == "reconstruction" else dataset


def is_file(spec: Spec) -> bool:
    """True if `spec` names a file of rows, by its suffix; `load` decides whether the file can be read."""
    return bool(_suffix(spec)) and not is_custom(spec.name)


def data_named(spec: Spec) -> Entry:
    """The row of the table, or the person's own function, that `spec` names; `spec` is not a file.

    Raises:
        UsageError: no such name, file or function.
    """
    return own_data(spec) if is_custom(spec.name) else find(DATA, spec, what=mention("data"))


def _load_as_named(spec: Spec, *, target: str | None, task: TaskChoice, missing: Missing, split: Split) -> Dataset:
    """The data set before a feature is set aside for the split and before the inputs become the targets."""
    path, suffix = Path(spec.name), _suffix(spec)
    if suffix in SUFFIXES and spec.options:
        raise UsageError(f"{mention('data', spec)}: a file takes no keys. Write {mention('data', spec.name)}.")
    if suffix in TABLES:
        return table_dataset(path, target=target, task=task, missing=missing, split=split)
    if target is not None:
        raise UsageError(
            f"{mention('target')} {target!r} names a column of a .csv or .parquet file, and {mention('data', spec)} is"
            " neither."
        )
    if suffix == ".npz":
        return npz_dataset(path, task=task, missing=missing)
    if is_custom(spec.name):
        return own_dataset(spec, task=task, missing=missing)
    if is_file(spec) and spec.name not in DATA:
        raise _unknown_file_error(spec)
    return named_dataset(spec, task)


def _suffix(spec: Spec) -> str:
    return Path(spec.name).suffix.lower()


def _unknown_file_error(spec: Spec) -> UsageError:
    """The error for a name with a suffix that no kind of data has."""
    if _suffix(spec) == ".py":
        return UsageError(
            f"{mention('data', spec.name)} lacks the name of its function. Write"
            f" {mention('data', f'{spec.name}:NAME')}."
        )
    return UsageError(
        f"{mention('data')} {spec.name!r} is not known.{did_you_mean(spec.name, DATA)} Files end in"
        f" {', '.join(SUFFIXES)}, or are FILE.py:NAME; `nnlab list data` shows the names."
    )
