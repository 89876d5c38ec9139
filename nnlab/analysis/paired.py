"""Two arms over the same seeds: differences paired by seed, tested and bounded.

Runs of one seed share split, batches and, where the factor allows, initial weights, so much of what varies between
seeds cancels in the difference. n: pairs. d: the n differences, arm minus baseline, in the metric's own unit.
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
    # The laws of t from scipy.special and the ranks from pandas, which is loaded anyhow: scipy.stats takes a second to load.
    special = lazy("scipy.special")
    pd = lazy("pandas")

# All 2^n sign patterns are counted up to here; beyond, as many random ones stand for them.
MOST_EXACT_PAIRS: Final = 16


@dataclass(frozen=True)
class PairedTest:
    """What n pairs say of the difference between an arm and its baseline.

    Attributes:
        n: pairs that were judged.
        difference: the mean difference with its interval; kind `not finite` where a run of a pair diverged.
        direction: above 0 where the arm's values are the larger, below 0 where they are the smaller, else 0.
        p: of the primary test, two-sided; None where nothing can be tested.
        p_sign_flip: of the sign-flip check; None likewise.
    """

    n: int
    difference: Interval
    direction: int
    p: float | None
    p_sign_flip: float | None


def paired_test(values: ArrayLike, baseline: ArrayLike) -> PairedTest:
    """The difference between two arms over the same seeds, tested.

    The primary test is Student's on the differences. Where it does not apply, the sign-flip test takes its place:

    - a run of some pair diverged (value inf or -inf): the difference has no number, so the pairs are compared by signed
      ranks, those with a diverged run ranking as the largest differences, and a pair in which both diverged as none;
    - all differences are equal and not 0 (a metric counted in rows, few seeds): no spread to judge them by.

    Where both arms give the same value at every seed the seeds are inert: the difference is exact and p is None.

    Args:
        values: the arm's, one for each pair; no nan.
        baseline: the baseline's, in the same order of seeds.
    """
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    differences = np.where(a == b, 0.0, np.subtract(a, b, where=a != b, out=np.zeros_like(a)))
    scores = differences if np.isfinite(differences).all() else _signed_ranks(differences)
    # A total so small is rounding: 0.1 - 0.2 and 0.2 - 0.1 in another order.
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
    """The two-sided p of Student's t for a mean of 0."""
    t = differences.mean() / standard_error(differences)
    return float(2.0 * special.stdtr(differences.size - 1, -abs(t)))


def _signed_ranks(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks of |d| with the sign of d, ties sharing their mean rank, 0 for no difference.

    Source: Wilcoxon 1945; Pratt 1959 for the zeros.
    """
    ranks = np.asarray(pd.Series(np.abs(differences)).rank(), dtype=np.float64)
    return ranks * np.sign(differences)


def sign_flip_p(differences: ArrayLike) -> float:
    """The two-sided p of the mean difference among all that its signs could have made of it.

    Valid wherever the differences are symmetric about 0 when nothing differs; it needs no Gaussian. Exact up to
    MOST_EXACT_PAIRS pairs. The smallest p possible is 2 / 2^n: 0.0625 at 5 pairs, so 5 seeds can never show anything
    at 5 %. Beyond, random signs from a fixed generator are drawn and the observed ones counted among them.

    Source: Fisher 1935, section 21.
    """
    array = np.asarray(differences, dtype=np.float64)
    observed = abs(array.sum())
    sums = np.abs(_sign_patterns(array.size) @ array)
    # Sums that are equal but for rounding count as equal.
    reached = int((sums >= observed - 1e-12 * np.abs(array).sum()).sum())
    if array.size <= MOST_EXACT_PAIRS:
        return reached / sums.size
    return (reached + 1) / (sums.size + 1)


@lru_cache(maxsize=4)
def _sign_patterns(num_pairs: int) -> NDArray[np.floating]:
    """Rows of +1 and -1: every pattern with the first sign fixed, or random ones where those are too many.

    Flipping all signs leaves |sum| as it is, so half of the patterns say what all do.
    """
    if num_pairs > MOST_EXACT_PAIRS:
        random = np.random.default_rng(20240229).integers(0, 2, (2**MOST_EXACT_PAIRS, num_pairs))
        return 1.0 - 2.0 * random
    codes = np.arange(2 ** max(num_pairs - 1, 0))[:, None]
    return 1.0 - 2.0 * ((codes >> np.arange(num_pairs)) & 1)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values in the order given: comparing them with 0.05 keeps the whole family's error at 5 %.

    The i-th smallest of m is multiplied by m - i + 1; none falls below one before it. None stays None and counts for
    nothing.

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
    """The smallest true difference that these pairs would have found with the power given, in the metric's own unit.

    delta s / sqrt(n), where delta makes the noncentral t exceed the two-sided critical value with that probability
    and s is the standard deviation seen. With a family of m the critical value is Holm's strictest, at alpha / m.

    Args:
        differences: one for each pair, finite.
        family: how many comparisons share alpha.
        alpha: error allowed to the whole family.
        power: probability of finding it.

    Returns:
        None with fewer than 2 pairs, a difference that is not finite, or no spread at all.
    """
    array = np.asarray(differences, dtype=np.float64)
    if array.size < 2 or not np.isfinite(array).all() or np.ptp(array) == 0:
        return None
    return _noncentrality(array.size, alpha / family, power) * standard_error(array)


@lru_cache(maxsize=256)
def _noncentrality(num_pairs: int, alpha: float, power: float) -> float:
    # Of the other tail's power there is less than alpha / 2 at delta = 0 and nothing near the root.
    degrees = num_pairs - 1
    return float(special.nctdtrinc(degrees, 1.0 - power, t_quantile(1.0 - alpha, degrees)))


def wins(values: ArrayLike, baseline: ArrayLike, *, higher_is_better: bool) -> int:
    """How many pairs the arm wins; equal pairs are won by neither, and a diverged run (worst value) loses."""
    a, b = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    return int((a > b).sum() if higher_is_better else (a < b).sum())
