"""One seed's data: rows split into parts, targets disturbed if asked for, everything scaled by the training part alone.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlab.core.errors import DataError, UsageError
from nnlab.core.lazy import lazy
from nnlab.core.spelling import mention
from nnlab.data.preprocessing import Preprocessing, fit_preprocessing
from nnlab.data.splits import AUTO, Split, split_rows
from nnlab.data.target_noise import Outliers, noisy_targets

if TYPE_CHECKING:
    import numpy as np
    from sklearn.utils import class_weight

    from nnlab.data.dataset import Dataset, Floats, GivenPart, Indices, Targets
else:
    np = lazy("numpy")
    class_weight = lazy("sklearn.utils.class_weight")


@dataclass(frozen=True, eq=False)
class Part:
    """Rows as the network sees them.

    Attributes:
        x: inputs [N, D], scaled.
        y: targets [N]: float64, scaled, for regression; class indices; or `x` itself [N, D] for reconstruction.
        rows: [N] index of each row in the data set, or in the part that the data set gives; ascending.
    """

    x: Floats
    y: Targets
    rows: Indices


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one seed, and the preprocessing learned from its training part."""

    train: Part
    val: Part | None
    test: Part | None
    preprocessing: Preprocessing


def divide(
    dataset: Dataset,
    *,
    seed: int,
    validation: float,
    test: float,
    split: Split = AUTO,
    standardize: bool = True,
    label_noise: float = 0.0,
    outliers: Outliers | None = None,
    raw_targets: bool = False,
) -> Parts:
    """The parts that `seed` makes of the data: the same seed gives the same parts.

    Fractions are of the data set's rows without the parts that it gives itself: 0.2 and 0.2 make 60, 20 and 20 %; of
    MNIST-1D, which gives its test part, 80 and 20 % of 4000. A part that the data set gives is taken as it is, unless
    its fraction is 0: then there is none.

    Args:
        dataset: the rows.
        seed: its `split` stream divides the rows, its `noise` stream disturbs targets.
        validation: fraction for the validation part; 0 for none.
        test: fraction for the test part; 0 for none.
        split: the way to divide the rows.
        standardize: false leaves the scale as it is, even if the data set asks for scaling.
        label_noise: fraction of the training labels to make wrong.
        outliers: training targets to disturb.
        raw_targets: targets keep their own unit even if inputs are scaled.

    Raises:
        UsageError: noise that does not fit the task, fractions that leave nothing.
        DataError: parts that can't be made of these rows.
    """
    num_val, num_test = _num_rows(dataset, "val", validation), _num_rows(dataset, "test", test)
    if num_val + num_test >= len(dataset.y):
        raise UsageError(
            f"{mention('validation', validation)} and {mention('test', test)} leave no training row of"
            f" {len(dataset.y)}. Lower one of them."
        )
    train, val_rows, test_rows = split_rows(dataset, split, seed=seed, num_val=num_val, num_test=num_test)
    _check_classes(dataset, train)
    x, y = dataset.x[train], noisy_targets(dataset, train, seed=seed, label_noise=label_noise, outliers=outliers)
    preprocessing = fit_preprocessing(
        dataset, x, y, standardize=standardize and dataset.standardize, raw_targets=raw_targets
    )

    def part(name: GivenPart, fraction: float, rows: Indices) -> Part | None:
        if fraction == 0:
            return None
        given_x, given_y = dataset.given.get(name, (dataset.x[rows], dataset.y[rows]))
        return _part(preprocessing, given_x, given_y, np.arange(len(given_y)) if name in dataset.given else rows)

    return Parts(
        train=_part(preprocessing, x, y, train),
        val=part("val", validation, val_rows),
        test=part("test", test, test_rows),
        preprocessing=preprocessing,
    )


def class_weights(y: Indices, num_classes: int) -> Floats:
    """Weights [C] under which every class counts the same: N / (C N_c); their mean over the rows is 1.

    Source: King and Zeng 2001; scikit-learn's `class_weight="balanced"`.
    """
    weights: Floats = class_weight.compute_class_weight("balanced", classes=np.arange(num_classes), y=y)
    return weights


def _num_rows(dataset: Dataset, part: GivenPart, fraction: float) -> int:
    """Number of rows to split off for a part that the data set does not give."""
    if fraction == 0 or part in dataset.given:
        return 0
    num = round(fraction * len(dataset.y))
    if num == 0:
        setting = "validation" if part == "val" else "test"
        raise DataError(
            f"{mention(setting, fraction)} of {len(dataset.y)} rows is less than one row. Raise it, or say"
            f" {mention(setting, 0)} for no such part."
        )
    return num


def _check_classes(dataset: Dataset, train: Indices) -> None:
    """Refuse a training part that lacks a class."""
    if not dataset.has_classes:
        return
    found = np.bincount(dataset.y[train], minlength=dataset.num_classes)
    if not found.all():
        name = dataset.class_names[int(found.argmin())]
        raise DataError(
            f"class {name!r} has no row in the training part. Say {mention('split', 'stratified')}, or leave the class"
            " out."
        )


def _part(preprocessing: Preprocessing, x: Floats, y: Targets, rows: Indices) -> Part:
    inputs = np.ascontiguousarray(preprocessing.inputs(x))
    return Part(inputs, inputs if preprocessing.task == "reconstruction" else preprocessing.targets(y), rows)
