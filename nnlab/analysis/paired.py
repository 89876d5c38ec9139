"""Two arms over the same seeds: tests and intervals of their differences, paired by seed.

Runs of one seed share split, batches and, where the factor allows, initial weights, so much of the variation
between seeds cancels in the difference. n: pairs. d: the n differences, arm minus baseline, in the metric's own unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from nnlab.analysis.intervals import Interval, standard_error, t_interval, t_quantile
from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import ArrayLike, NDArray
    from scipy import special
else:
    # Student's t from scipy.special and ranks from pandas, which is loaded anyway: scipy.stats takes a second to load.
    special = lazy("scipy.special")
    pd = lazy("pandas")

# Up to this many pairs every pattern of signs is counted; beyond, 2 to this power random ones stand for them.
MOST_EXACT_PAIRS: Final = 16


@dataclass(frozen=True)
class PairedTest:
    """The test of an arm against its baseline over n pairs.

    Attributes:
        n: number of pairs.
        difference: the mean difference with its interval; its kind is `not finite` if a run of a pair diverged.
        direction: above 0 if the arm's values are larger, below 0 if they are smaller, else 0.
        p: of the primary test, two-sided; None if nothing can be tested.
        p_sign_flip: of the sign-flip test, which checks it; None likewise.
    """

    n: int
    difference: Interval
    direction: int
    p: float | None
    p_sign_flip: float | None


def paired_test(values: ArrayLike, baseline: ArrayLike) -> PairedTest:
    """Test the difference between two arms over the same seeds.

    The primary test is Student's t test of the differences. The sign-flip test replaces it if it does not apply:

    - a run of some pair diverged (value inf or -inf): such a difference is not a number, so the pairs are compared by signed
      ranks. A pair with one diverged run ranks as the largest difference, a pair with two as no difference;
    - all differences are equal and not 0 (a metric counted in rows, few seeds): there is no spread to judge them by.

    If neither arm varies over the seeds, the seeds are inert: the difference is exact and p is None.

    Args:
        values: the arm's, one for each pair; no nan.
        baseline: the baseline's, in the same order of seeds.
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    differences = np.where(a == b, 0.0, np.subtract(a, b, where=a != b, out=np.zeros_like(a)))
    scores = differences if np.isfinite(differences).all() else _signed_ranks(differences)
    # A total this small is rounding: 0.1 - 0.2 and 0.2 - 0.1 in another order.
    total = float(scores.sum())
    direction = 0 if abs(total) <= 1e-12 * np.abs(scores).sum() else int(np.sign(total))
    inert = a.size > 1 and np.isfinite(differences).all() and (a == a[0]).all() and (b == b[0]).all()
    if a.size < 2 or inert:
        return PairedTest(a.size, t_interval(differences), direction, None, None)
    flipped = sign_flip_p(scores)
    spread = float(np.ptp(differences)) if scores is differences else 0.0
    has_spread = spread > 1e-12 * float(np.abs(differences).max(initial=0.0))
    p = _student_p(differences) if has_spread else flipped
    return PairedTest(a.size, t_interval(differences), direction, p, flipped)


def _student_p(differences: NDArray[np.float64]) -> float:
    """The two-sided p of Student's t test for a mean of 0."""
    t = differences.mean() / standard_error(differences)
    return float(2.0 * special.stdtr(differences.size - 1, -abs(t)))


def _signed_ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of |d| with the sign of d: ties share their mean rank, and no difference has 0.

    Source: Wilcoxon 1945; Pratt 1959 for the zeros.
    """
    ranks = np.asarray(pd.Series(np.abs(differences)).rank(), dtype=np.float64)
    return ranks * np.sign(differences)


def sign_flip_p(differences: ArrayLike) -> float:
    """The two-sided p of the mean difference, compared with the means under all other signs of the differences.

    Valid if the differences are symmetric about 0 when the arms are equal; they need not be Gaussian. Exact up to
    MOST_EXACT_PAIRS pairs. The smallest p possible is 2 / 2^n: 0.0625 at 5 pairs, so 5 seeds can never show anything at 5 %.
    For more pairs, random signs are drawn from a fixed generator, and the observed signs are counted among them.

    Source: Fisher 1935, section 21.
    """
    array = np.asarray(differences, dtype=np.float64)
    observed = abs(array.sum())
    sums = np.abs(_sign_patterns(array.size) @ array)
    # Sums that differ only by rounding count as equal.
    reached = int((sums >= observed - 1e-12 * np.abs(array).sum()).sum())
    if array.size <= MOST_EXACT_PAIRS:
        return reached / sums.size
    return (reached + 1) / (sums.size + 1)


@lru_cache(maxsize=4)
def _sign_patterns(num_pairs: int) -> NDArray[np.floating]:
    """Rows of +1 and -1: every pattern with the first sign fixed, or random ones if there are too many.

    Flipping all signs does not change |sum|, so half of the patterns suffice.
    """
    if num_pairs > MOST_EXACT_PAIRS:
        random = np.random.default_rng(20240229).integers(0, 2, (2**MOST_EXACT_PAIRS, num_pairs))
        return 1.0 - 2.0 * random
    codes = np.arange(2 ** max(num_pairs - 1, 0))[:, None]
    return 1.0 - 2.0 * ((codes >> np.arange(num_pairs)) & 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values in the order given: comparing them with 0.05 keeps the whole family's error at 5 %.

    The i-th smallest of m is multiplied by m - i + 1; none falls below one before it. None stays None and is not
    counted.

    Source: Holm 1979.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (p, index) in enumerate(known):
        least = max(least, min(1.0, p * (len(known) - rank)))
        adjusted[index] = least
    return adjusted


def detectable_difference(
    differences: ArrayLike, *, family: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest true difference that these pairs would detect with the given power, in the metric's own unit.

    delta s / sqrt(n), where the noncentral t with delta exceeds the two-sided critical value with that probability, and s is
    the observed standard deviation. In a family of m, the critical value is Holm's strictest, at alpha / m.

    Args:
        differences: one for each pair, finite.
        family: number of comparisons that share alpha.
        alpha: error rate of the whole family.
        power: probability of detecting the difference.

    Returns:
        None with fewer than 2 pairs, a difference that is not finite, or no spread at all.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.size < 2 or not np.isfinite(array).all() or np.ptp(array) == 0:
        return None
    return _noncentrality(array.size, alpha / family, power) * standard_error(array)


@lru_cache(maxsize=256)
def _noncentrality(num_pairs: int, alpha: float, power: float) -> float:
    # The other tail is left out: its power is below alpha / 2 at delta = 0, and negligible near the root.
    degrees = num_pairs - 1
    return float(special.nctdtrinc(degrees, 1.0 - power, t_quantile(1.0 - alpha, degrees)))


def wins(values: ArrayLike, baseline: ArrayLike, *, higher_is_better: bool) -> int:
    """Number of pairs that the arm wins. Neither arm wins an equal pair; a diverged run (the worst value) loses."""
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    return int((a > b).sum() if higher_is_better else (a < b).sum())
