"""One seed's data: the rows split into parts, spoilt if asked for, and scaled by the training part alone.

Shapes: N rows, D features, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlab.core.errors import DataError, UsageError
from nnlab.core.kinds import parse_value
from nnlab.core.lazy import lazy
from nnlab.core.rng import stream_seed
from nnlab.core.spelling import mention
from nnlab.data.preprocessing import Preprocessing, fitted
from nnlab.data.splits import AUTO, Split, split_rows

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
        rows: [N] where each row stands in the data set, or in the part that the data set gives; ascending.
    """

    x: Floats
    y: Targets
    rows: Indices


@dataclass(frozen=True, eq=False)
class Parts:
    """The parts of one seed, and what was learned from its training part."""

    train: Part
    val: Part | None
    test: Part | None
    preprocessing: Preprocessing


@dataclass(frozen=True)
class Outliers:
    """`0.1:scale=10`: the fraction of training targets to disturb, and how far, in standard deviations."""

    fraction: float
    scale: float


def parse_outliers(text: str, *, what: str = mention("outliers")) -> Outliers:
    """The outliers that `FRACTION:scale=S` names; scale is 10 where it is not given."""
    fraction, _, rest = text.partition(":")
    key, equals, scale = (rest or "scale=10").partition("=")
    if key != "scale" or not equals:
        raise UsageError(f"{what} {text!r} is not FRACTION:scale=S, such as 0.1:scale=10.")
    share = parse_value("Fraction", fraction, what=what)
    return Outliers(float(share), float(parse_value("Positive", scale, what=f"{what} scale")))  # type: ignore[arg-type]


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
    """The parts that `seed` makes of the data: the same seed, the same parts.

    Fractions are of the data set's rows, those of a part it gives of its own not counted: 0.2 and 0.2 make 60, 20 and
    20 %; of MNIST-1D, whose test part is given, 80 and 20 % of 4000. A part that the data set gives is taken as it
    is, unless its fraction is 0: then there is none.

    Args:
        dataset: the rows.
        seed: its `split` stream deals out rows, its `noise` stream spoils targets.
        validation: fraction for the validation part; 0 for none.
        test: fraction for the test part; 0 for none.
        split: how rows are dealt out.
        standardize: false leaves the scale as it is, whatever the data set asks for.
        label_noise: fraction of the training labels to make wrong.
        outliers: training targets to disturb.
        raw_targets: targets keep their own unit, whatever is scaled.

    Raises:
        UsageError: noise that does not fit the task, fractions that leave nothing.
        DataError: parts that can't be made of these rows.
    """
    num_val, num_test = (_num_rows(dataset, part, of) for part, of in (("val", validation), ("test", test)))
    if num_val + num_test >= len(dataset.y):
        raise UsageError(
            f"{mention('validation')} {validation!r} and {mention('test')} {test!r} leave no training row of {len(dataset.y)}."
            " Lower one of them."
        )
    train, val_rows, test_rows = split_rows(dataset, split, seed=seed, num_val=num_val, num_test=num_test)
    _check_classes(dataset, train)
    x, y = dataset.x[train], _spoilt(dataset, train, seed=seed, label_noise=label_noise, outliers=outliers)
    preprocessing = fitted(dataset, x, y, standardize=standardize and dataset.standardize, raw_targets=raw_targets)

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


def noisy_labels(y: Targets, *, fraction: float, num_classes: int, seed: int) -> Targets:
    """`y` with round(fraction N) labels replaced, each by one of the other classes, all equally likely.

    Source: symmetric label noise, as in Zhang et al. 2017, but never the true label.
    """
    rng = np.random.default_rng(stream_seed(seed, "noise"))
    chosen = rng.choice(len(y), size=round(fraction * len(y)), replace=False)
    shifts = rng.integers(1, num_classes, size=len(chosen))
    noisy = y.copy()
    noisy[chosen] = (noisy[chosen] + shifts) % num_classes
    return noisy


def with_outliers(y: Targets, outliers: Outliers, *, seed: int) -> Targets:
    """`y` with N(0, (scale sd)^2) added to round(fraction N) of the targets; sd is that of all of them."""
    rng = np.random.default_rng(stream_seed(seed, "noise"))
    chosen = rng.choice(len(y), size=round(outliers.fraction * len(y)), replace=False)
    disturbed = y.copy()
    disturbed[chosen] += outliers.scale * y.std() * rng.standard_normal(len(chosen))
    return disturbed


def class_weights(y: Indices, num_classes: int) -> Floats:
    """Weights [C] under which every class counts the same: N / (C N_c); their mean over the rows is 1.

    Source: King and Zeng 2001; scikit-learn's `class_weight="balanced"`.
    """
    weights: Floats = class_weight.compute_class_weight("balanced", classes=np.arange(num_classes), y=y)
    return weights


def _num_rows(dataset: Dataset, part: str, fraction: float) -> int:
    """Rows to be split off for a part that the data set does not give."""
    if fraction == 0 or part in dataset.given:
        return 0
    num = round(fraction * len(dataset.y))
    if num == 0:
        flag = mention("validation") if part == "val" else mention("test")
        raise DataError(
            f"{flag} {fraction!r} of {len(dataset.y)} rows is no row. Raise it, or say {flag} 0 for no such part."
        )
    return num


def _check_classes(dataset: Dataset, train: Indices) -> None:
    if not dataset.has_classes:
        return
    found = np.bincount(dataset.y[train], minlength=dataset.num_classes)
    if not found.all():
        name = dataset.class_names[int(found.argmin())]
        raise DataError(
            f"class {name!r} has no row in the training part. Say {mention('split', 'stratified')}, or leave the class out."
        )


def _spoilt(dataset: Dataset, train: Indices, *, seed: int, label_noise: float, outliers: Outliers | None) -> Targets:
    """The training targets, with label noise or outliers where they are asked for."""
    y = dataset.y[train]
    if label_noise and not dataset.has_classes:
        instead = f" Say {mention('outliers')}." if dataset.task == "regression" else ""
        raise UsageError(
            f"{mention('label_noise')} {label_noise!r} is for classes; the task is {dataset.task}.{instead}"
        )
    if outliers is not None and dataset.task != "regression":
        instead = f" Say {mention('label_noise')}." if dataset.has_classes else ""
        raise UsageError(f"{mention('outliers')} is for regression; the task is {dataset.task}.{instead}")
    if label_noise:
        return noisy_labels(y, fraction=label_noise, num_classes=dataset.num_classes, seed=seed)
    return y if outliers is None else with_outliers(y, outliers, seed=seed)


def _part(preprocessing: Preprocessing, x: Floats, y: Targets, rows: Indices) -> Part:
    inputs = np.ascontiguousarray(preprocessing.inputs(x))
    return Part(inputs, inputs if preprocessing.task == "reconstruction" else preprocessing.targets(y), rows)
