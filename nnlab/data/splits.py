"""Splits: how rows are divided into the training, validation and test part.

    random       rows drawn by the seed: the default where there are no classes
    stratified   the same, with each class in the same share in every part: the default for classes
    group:COL    rows that share a value of the column stay together: another patient, not another visit
    time:COL     the latest rows are the test part, those before them the validation part; rows of one time stay together

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from nnlab.core.errors import DataError, UsageError, did_you_mean, unknown_name
from nnlab.core.lazy import lazy
from nnlab.core.rng import stream_seed
from nnlab.core.spelling import mention
from nnlab.data.dataset import Dataset, SplitColumn
from nnlab.data.wording import quoted_names

if TYPE_CHECKING:
    import numpy as np
    from sklearn import model_selection

    from nnlab.data.dataset import Floats, Indices
else:
    np = lazy("numpy")
    model_selection = lazy("sklearn.model_selection")

How = Literal["auto", "random", "stratified", "group", "time"]

_WITH_COLUMN: Final = ("group", "time")
_ACCEPTED: Final = "Accepted: random, stratified, group:COLUMN, time:COLUMN."


@dataclass(frozen=True)
class Split:
    """A way to divide rows into parts.

    Attributes:
        how: the way; `auto` is stratified for classes, else random.
        column: the column that `group` and `time` go by.
    """

    how: How
    column: str | None = None

    def __str__(self) -> str:
        return self.how if self.column is None else f"{self.how}:{self.column}"


AUTO: Final = Split("auto")


def parse_split(text: str, *, what: str = mention("split")) -> Split:
    """The split that `text` names: `random`, `stratified`, `group:COLUMN`, `time:COLUMN` or `auto`."""
    how, _, column = text.partition(":")
    if how not in _CUTS and how != "auto":
        raise unknown_name(what, how, _CUTS, see=_ACCEPTED)
    if (how in _WITH_COLUMN) != bool(column):
        raise UsageError(
            f"{what} {text!r} {'needs a column' if how in _WITH_COLUMN else 'takes no column'}. {_ACCEPTED}"
        )
    return Split(how, column or None)  # type: ignore[arg-type]


def set_aside(dataset: Dataset, split: Split) -> Dataset:
    """The same data with the feature that `split` goes by taken out of the inputs and kept as the split column.

    Raises:
        UsageError: no such feature, or no other one.
        DataError: the feature has missing values.
    """
    names = dataset.feature_names
    if split.column not in names:
        near = did_you_mean(str(split.column), names)
        raise UsageError(
            f"{mention('split', split)} does not name a feature of the data.{near} Its features: {quoted_names(names)}."
        )
    index = names.index(split.column)
    if len(names) == 1:
        raise UsageError(f"{mention('split', split)} takes the only feature of the data.")

    def others(x: Floats) -> Floats:
        return np.delete(x, index, axis=1)

    values = dataset.x[:, index]
    if np.isnan(values).any():
        raise DataError(
            f"{mention('split', split)}: row {int(np.isnan(values).argmax())} of the feature is missing."
            f" Say {mention('missing', 'drop')}."
        )
    return replace(
        dataset,
        x=others(dataset.x),
        columns=dataset.columns[:index] + dataset.columns[index + 1 :],
        given={part: (others(x), y) for part, (x, y) in dataset.given.items()},
        row_shape=(len(names) - 1,),
        split_column=SplitColumn(split.column, values),
    )


def split_rows(
    dataset: Dataset, split: Split, *, seed: int, num_val: int, num_test: int
) -> tuple[Indices, Indices, Indices]:
    """Row indices of the training, validation and test part, each ascending: disjoint, and together all N.

    The test part is drawn first, so it is the same whatever the size of the validation part. Only groups and times may
    make the parts larger or smaller than asked for.

    Args:
        dataset: the rows.
        split: the way; `auto` is resolved here.
        seed: its `split` stream decides.
        num_val: rows wanted in the validation part; 0 for none.
        num_test: rows wanted in the test part; 0 for none.

    Raises:
        DataError: the rows can't be divided so.
    """
    if split.how == "auto":
        split = Split("stratified" if dataset.has_classes else "random")
    parts = 1 + (num_val > 0) + (num_test > 0)
    if split.how == "stratified":
        _check_classes(dataset, parts=parts)
    if split.how in _WITH_COLUMN:
        _check_column(dataset, split, parts=parts)
    bits = stream_seed(seed, "split")
    rest, test = _cut(dataset, split, np.arange(len(dataset.y)), num_test, bits & 0xFFFFFFFF)
    train, val = _cut(dataset, split, rest, num_val, bits >> 32)
    return train, val, test


def _check_classes(dataset: Dataset, *, parts: int) -> None:
    """Refuse a stratified split that the classes do not allow."""
    if not dataset.has_classes:
        raise UsageError(
            f"{mention('split', 'stratified')} is for classes; the task is {dataset.task}."
            f" Say {mention('split', 'random')}."
        )
    found = np.bincount(dataset.y, minlength=dataset.num_classes)
    if found.min() < parts and parts > 1:
        name = dataset.class_names[int(found.argmin())]
        rows = "1 row" if found.min() == 1 else f"{found.min()} rows"
        raise DataError(
            f"class {name!r} has {rows}; a stratified split into {parts} parts needs {parts} of each class."
            f" Leave the class out, say {mention('split', 'random')}, or {mention('task', 'regression')} if the numbers"
            " are not classes."
        )


def _check_column(dataset: Dataset, split: Split, *, parts: int) -> None:
    """Refuse a split by groups or times that the column does not allow."""
    if dataset.split_column is None:
        raise UsageError(f"{mention('split', split)} goes by a column, but the data were loaded without one.")
    found = len(np.unique(dataset.split_column.values))
    if found < parts:
        raise DataError(
            f"{mention('split', split)}: different values in the column: {found}. {parts} parts need at least {parts}."
            f" Say {mention('validation', 0)} or {mention('test', 0)}, or {mention('split', 'random')}."
        )


def _cut(dataset: Dataset, split: Split, rows: Indices, num: int, state: int) -> tuple[Indices, Indices]:
    """The rows that stay, and about `num` rows taken from them; both ascending."""
    if num == 0:
        return rows, rows[:0]
    if num >= len(rows):
        raise DataError(
            f"{len(rows)} rows are too few to take {num} away. Lower {mention('validation')} or {mention('test')}."
        )
    try:
        kept, taken = _CUTS[split.how](dataset, rows, num, state)
    except ValueError as error:
        raise DataError(
            f"{mention('split', split)} can't take {num} of {len(rows)} rows: {error}"
            f" Change {mention('validation')} or {mention('test')}, or say {mention('split', 'random')}."
        ) from None
    if not len(kept) or not len(taken):
        raise DataError(
            f"{mention('split', split)} leaves a part without rows."
            f" Change {mention('validation')} or {mention('test')}, or say {mention('split', 'random')}."
        )
    return np.sort(kept), np.sort(taken)


def _cut_randomly(_: Dataset, rows: Indices, num: int, state: int) -> tuple[Indices, Indices]:
    drawn = np.random.default_rng(state).permutation(rows)
    return drawn[num:], drawn[:num]


def _cut_by_class(dataset: Dataset, rows: Indices, num: int, state: int) -> tuple[Indices, Indices]:
    """Take each class's share of `num`. Shares are rounded to add up to `num`: the largest remainders up, ties by lot.

    Written out because loading scikit-learn's splitters takes half as long as loading torch, at the start of every command.
    """
    generator = np.random.default_rng(state)
    classes, counts = np.unique(dataset.y[rows], return_counts=True)
    if num < len(classes):
        raise ValueError(f"that is less than the number of classes, {len(classes)}.")
    share = counts * num / len(rows)
    num_taken = np.floor(share).astype(np.int64)
    lot = generator.permutation(len(classes))
    first = lot[np.argsort(-(share - num_taken)[lot], kind="stable")]
    num_taken[first[: num - num_taken.sum()]] += 1
    is_taken = np.zeros(len(rows), dtype=bool)
    for each, count in zip(classes, num_taken, strict=True):
        is_taken[generator.permutation(np.flatnonzero(dataset.y[rows] == each))[:count]] = True
    return rows[~is_taken], rows[is_taken]


def _cut_by_group(dataset: Dataset, rows: Indices, num: int, state: int) -> tuple[Indices, Indices]:
    assert dataset.split_column is not None
    groups = dataset.split_column.values[rows]
    num_groups = len(np.unique(groups))
    num_taken = min(max(round(num / len(rows) * num_groups), 1), num_groups - 1)
    splitter = model_selection.GroupShuffleSplit(n_splits=1, test_size=num_taken, random_state=state)
    kept, taken = next(splitter.split(rows, groups=groups))
    return rows[kept], rows[taken]


def _cut_by_time(dataset: Dataset, rows: Indices, num: int, _: int) -> tuple[Indices, Indices]:
    assert dataset.split_column is not None
    times = dataset.split_column.values[rows]
    late = times >= np.sort(times)[-num]
    return rows[~late], rows[late]


_CutFunction = Callable[["Dataset", "Indices", int, int], "tuple[Indices, Indices]"]

_CUTS: Final[Mapping[str, _CutFunction]] = {
    "random": _cut_randomly,
    "stratified": _cut_by_class,
    "group": _cut_by_group,
    "time": _cut_by_time,
}
