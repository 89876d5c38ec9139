"""The arms that can't be told apart from the best, judged all at once.

Comparing each arm with the one that happens to look best by a t test, even under Holm, ignores that the best was picked
for looking best: among 6 equal arms some arm is excluded in about 10 % of experiments, among 16 in 17 %, among 64 in
30 %. Here the critical value comes from the distribution of the whole procedure, picking included, among equal arms.

Shapes: K arms, n seeds, S simulated experiments.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Values drawn for one critical value: bounds its time to a fraction of a second up to a few hundred arms.
_DRAWN_VALUES: Final = 4_000_000
_MOST_EXPERIMENTS: Final = 20_000
_LEAST_EXPERIMENTS: Final = 2_000
_BATCH_VALUES: Final = 500_000


def ties_with_best(values_KN: ArrayLike, *, error: float = 0.05) -> NDArray[np.bool_]:
    """Flags of the arms that are not separated from the one with the least mean.

    For each arm t = mean(d) / (s_d / sqrt(n)), where d are its values minus the best's, paired by seed. The largest t is
    compared with its distribution for K equal arms of Gaussian values and equal spread, which depends only on K and n:
    whatever the seeds have in common cancels in d. Arms beyond the 1 - error quantile are excluded, and the rest are judged
    again as a smaller set.

    Each pair has its own s_d, so unequal spreads make the procedure conservative (2 % for spreads from 0.1 to 10). Permuting
    values between arms assumes equal spreads: it excluded arms in 12 to 44 % of such experiments, and with 3 seeds it could
    hardly exclude arms ten standard deviations off, because those widen the distribution of the permuted values. For skewed
    values of one shape the procedure is conservative too (about 1 %); for skewed values of different spreads no test of means
    is right at 10 seeds (lognormal, spreads 0.1 to 10: 18 %). Requiring Hall's transformation for skewness (1992) as well as
    t would reduce that to 10 %, and cost a fifth to a third of the separations among Gaussian values.

    A metric counted in steps (accuracy on few rows) can by chance show the same difference at every seed, so s_d is at least
    what one step at one seed would make it. If no arm varies over seeds, the differences are exact.

    Args:
        values_KN: lower is better, finite; row k is arm k, columns are seeds.
        error: share of experiments with equal arms in which some arm may be excluded.

    Returns:
        K flags; all true with fewer than 2 seeds, when nothing can be told apart.
    """
    values = np.asarray(values_KN, dtype=np.float64)
    num_arms, num_seeds = values.shape
    tied = np.ones(num_arms, dtype=np.bool_)
    if num_seeds < 2:
        return tied
    t = _distances_from_best(values)
    while tied.sum() > 1:
        beyond = tied & (t > critical_distance(int(tied.sum()), num_seeds, error))
        if not beyond.any():
            break
        tied &= ~beyond
    return tied


def _distances_from_best(values_KN: NDArray[np.float64]) -> NDArray[np.float64]:
    """t of each arm against the arm with the least mean, whose own t is 0."""
    num_seeds = values_KN.shape[1]
    differences = values_KN - values_KN[values_KN.mean(axis=1).argmin()]
    errors = np.maximum(differences.std(axis=1, ddof=1), _least_spread(values_KN)) / np.sqrt(num_seeds)
    means = differences.mean(axis=1)
    t: NDArray[np.float64] = np.divide(means, errors, where=errors > 0, out=np.where(means > 0, np.inf, 0.0))
    return t


def _least_spread(values_KN: NDArray[np.float64]) -> float:
    """The standard deviation over seeds that one step of the metric at one seed makes; 0 if no arm varies at all."""
    if (np.ptp(values_KN, axis=1) == 0).all():
        return 0.0
    gaps = np.diff(np.unique(values_KN))
    # Gaps as small as rounding errors are not steps of the metric.
    steps = gaps[gaps > 1e-9 * np.abs(values_KN).max()]
    return float(steps.min(initial=np.inf) / np.sqrt(values_KN.shape[1])) if steps.size else 0.0


@lru_cache(maxsize=256)
def critical_distance(num_arms: int, num_seeds: int, error: float = 0.05) -> float:
    """The value that the largest t against the observed best exceeds in `error` of experiments with equal arms.

    It is simulated from a fixed generator, since each arm's t has its own variance estimate and no table has the
    distribution. With 2 arms it is the two-sided quantile of Student's t. Its standard error at 64 arms and 10 seeds is 0.3 %
    of experiments.
    """
    generator = np.random.default_rng(19521)
    size = num_arms * num_seeds
    experiments = min(max(_DRAWN_VALUES // size, _LEAST_EXPERIMENTS), _MOST_EXPERIMENTS)
    batch = max(_BATCH_VALUES // size, 1)
    largest = [
        _largest_distance(generator.standard_normal((min(batch, experiments - start), num_arms, num_seeds)))
        for start in range(0, experiments, batch)
    ]
    return float(np.quantile(np.concatenate(largest), 1 - error))


def _largest_distance(values_SKN: NDArray[np.float64]) -> NDArray[np.float64]:
    best = values_SKN.mean(axis=2).argmin(axis=1)
    differences = values_SKN - np.take_along_axis(values_SKN, best[:, None, None], axis=1)
    means, spreads = differences.mean(axis=2), differences.std(axis=2, ddof=1)
    t = np.divide(means, spreads, where=spreads > 0, out=np.zeros_like(means))
    largest: NDArray[np.float64] = t.max(axis=1) * np.sqrt(values_SKN.shape[2])
    return largest
