"""Confidence intervals over seeds, and the means that they are for.

Every interval is for one arm: n values of one metric, one for each seed. With one seed, or if all values are equal,
there is no interval, and `Interval.kind` says why.

Coverage of the 95 % Student interval, by simulation: 95 % for Gaussian values at any n; for lognormal values (sigma
1) about 82 % at n = 5 and 84 % at n = 10, because the mean of a few skewed values mostly lies below the mean of
their distribution.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnlab.analysis.scores import is_share
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from scipy import special
else:
    special = lazy("scipy.special")

IntervalKind = Literal["interval", "identical", "one seed", "not finite"]


@dataclass(frozen=True)
class Interval:
    """An estimate and, if the values allow one, its confidence interval.

    Attributes:
        kind: `interval`; or `identical` (all values are equal), `one seed` or `not finite` (a run diverged or has no
            value), and then `low` and `high` are None.
        estimate: the mean that the interval is for; inf or nan if a value is.
        low: lower end, in the metric's own unit.
        high: upper end.
    """

    kind: IntervalKind
    estimate: float
    low: float | None = None
    high: float | None = None


def _interval(
    values: ArrayLike,
    estimate: Callable[[NDArray[np.float64]], float],
    ends: Callable[[NDArray[np.float64]], tuple[float, float]],
) -> Interval:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return Interval("not finite", float("nan"))
    if not np.isfinite(array).all():
        return Interval("not finite", estimate(array))
    if array.size == 1:
        return Interval("one seed", float(array[0]))
    if np.ptp(array) == 0:
        return Interval("identical", float(array[0]))
    low, high = ends(array)
    return Interval("interval", estimate(array), float(low), float(high))


def mean(values: ArrayLike) -> float:
    """The arithmetic mean; inf if a value is inf, nan if one is nan or infinities cancel."""
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.asarray(values, dtype=np.float64)))


def interquartile_mean(values: ArrayLike) -> float:
    """The mean of the values that are left after a quarter of them, rounded down, is cut from each end.

    Failed runs given as the worst value (inf for a loss) are cut first; the result is inf once they outnumber the cut.

    Source: Agarwal et al. 2021, section 4.2; the trimmed mean of Tukey 1962 at 25 %.
    """
    # As scipy.stats.trim_mean, which takes a millisecond a call; a summary has thousands of cells.
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    cut = ordered.size // 4
    return mean(ordered[cut : ordered.size - cut])


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean with Student's interval: mean ± t(n-1) s / sqrt(n).

    Exact for Gaussian values; for skewed ones see the docstring of the module.

    Args:
        values: one for each seed.
        confidence: between 0 and 1.
    """

    def ends(array: NDArray[np.float64]) -> tuple[float, float]:
        margin = t_quantile(confidence, array.size - 1) * standard_error(array)
        return array.mean() - margin, array.mean() + margin

    return _interval(values, mean, ends)


@cache
def t_quantile(confidence: float, degrees: int) -> float:
    """The two-sided quantile of Student's t; from scipy.special, since scipy.stats takes a second to load."""
    return float(special.stdtrit(degrees, 0.5 + confidence / 2))


def standard_error(array: NDArray[np.float64]) -> float:
    """The standard error of the mean of two or more values."""
    return float(array.std(ddof=1) / np.sqrt(array.size))


def logit_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """The mean of shares in [0, 1] with an interval that stays inside (0, 1).

    Student's interval is taken around logit(mean), with the standard error by the delta method, se / (mean (1 - mean)),
    and its ends are transformed back. It always contains the mean. Single values of exactly 0 or 1 need no adjustment,
    since only the mean is transformed; if the mean is exactly 0 or 1, all values are equal and the kind is `identical`.

    Source: Korn and Graubard 1998, the logit interval for proportions, with n seeds in place of clusters.
    """

    def ends(array: NDArray[np.float64]) -> tuple[float, float]:
        centre = array.mean()
        margin = t_quantile(confidence, array.size - 1) * standard_error(array) / (centre * (1 - centre))
        logit = np.log(centre / (1 - centre))
        return 1 / (1 + np.exp(margin - logit)), 1 / (1 + np.exp(-margin - logit))

    return _interval(values, mean, ends)


def metric_interval(column: str, values: ArrayLike) -> Interval:
    """The interval that fits the metric in `column`: on the logit scale for shares, else Student's."""
    return logit_interval(values) if is_share(column) else t_interval(values)
