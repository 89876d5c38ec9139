"""Noise in training targets: wrong labels and outliers.

Shapes: N rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nnlab.core.errors import UsageError
from nnlab.core.kinds import parse_value
from nnlab.core.lazy import lazy
from nnlab.core.rng import stream_seed
from nnlab.core.spelling import mention, with_value

if TYPE_CHECKING:
    import numpy as np

    from nnlab.data.dataset import Dataset, Indices, Targets
else:
    np = lazy("numpy")


@dataclass(frozen=True)
class Outliers:
    """`0.1:scale=10`: the fraction of training targets to disturb, and the disturbance's size in standard deviations."""

    fraction: float
    scale: float


def parse_outliers(text: str, *, what: str = mention("outliers")) -> Outliers:
    """The outliers that `FRACTION:scale=S` names; scale is 10 by default."""
    fraction, _, rest = text.partition(":")
    key, equals, scale = (rest or "scale=10").partition("=")
    if key != "scale" or not equals:
        raise UsageError(f"{what} {text!r} is not FRACTION:scale=S, such as 0.1:scale=10.")
    share = parse_value("Fraction", fraction, what=what)
    size = parse_value("Positive", scale, what=with_value(what, f"{fraction}:scale"))
    return Outliers(float(share), float(size))  # type: ignore[arg-type]


def noisy_targets(
    dataset: Dataset, train: Indices, *, seed: int, label_noise: float, outliers: Outliers | None
) -> Targets:
    """The training targets, with label noise or outliers if asked for.

    Raises:
        UsageError: noise that does not fit the task.
    """
    y = dataset.y[train]
    if label_noise and not dataset.has_classes:
        instead = f" Say {mention('outliers', label_noise)}." if dataset.task == "regression" else ""
        raise UsageError(f"{mention('label_noise', label_noise)} is for classes; the task is {dataset.task}.{instead}")
    if outliers is not None and dataset.task != "regression":
        instead = f" Say {mention('label_noise', outliers.fraction)}." if dataset.has_classes else ""
        raise UsageError(f"{mention('outliers')} is for regression; the task is {dataset.task}.{instead}")
    if label_noise:
        return noisy_labels(y, fraction=label_noise, num_classes=dataset.num_classes, seed=seed)
    return y if outliers is None else with_outliers(y, outliers, seed=seed)


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
