"""The best arm, and the arms that can't be told apart from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nnlab.analysis.scores import higher_is_better, outcomes
from nnlab.analysis.ties import ties_with_best

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Selection:
    """The best arm on one metric, or the reason why there is none.

    Attributes:
        best: the arm, or None if nothing is selected.
        tied: the arms not separated from it, including itself; empty if nothing is selected.
        basis: how the best was chosen, or why none was; part of a sentence.
    """

    best: str | None
    tied: frozenset[str]
    basis: str


def select(runs: pd.DataFrame, *, arms: Sequence[str], metric: str, collapsed: Set[str] = frozenset()) -> Selection:
    """Select the best arm by `metric`, and those tied with it.

    An arm is whole if each of its runs is done and none collapsed. The best is the whole arm with the best mean. If no arm
    is whole, it is the arm with the best median, failed runs counting as the worst; then the one with fewer failed runs,
    then the first given. Only whole arms can be tied with a whole best arm: an arm with a failed run differs from it by
    that, and its verdict says so. A best arm by median is tied only with itself.

    Args:
        runs: rows of runs.csv: `run_id, arm, seed, status` and `metric`.
        arms: the arms to choose from.
        metric: the column judged by.
        collapsed: run_ids of the runs that are finite but dead, from `sweep_verdict`.
    """
    done = runs[runs["status"] == "done"]
    if done.empty:
        return Selection(None, frozenset(), "no run finished")
    if not np.isfinite(done[metric].astype(float)).any():
        return Selection(None, frozenset(), f"no run has a {metric}")
    sign = -1.0 if higher_is_better(metric) else 1.0
    alive = runs.assign(status=runs["status"].mask(runs["run_id"].isin(collapsed), "diverged"))
    costs = sign * outcomes(alive, metric, arms).to_numpy(dtype=np.float64)
    whole = np.isfinite(costs).all(axis=1)
    if not whole.any():
        best = _best_by_median(np.where(np.isnan(costs), np.inf, costs))
        basis = f"by median {metric} with failed runs as the worst, since every arm has one"
        return Selection(arms[best], frozenset({arms[best]}), basis)
    candidates = np.flatnonzero(whole)
    tied = ties_with_best(costs[candidates])
    best = int(candidates[costs[candidates].mean(axis=1).argmin()])
    return Selection(arms[best], frozenset(arms[i] for i in candidates[tied]), f"by mean {metric} over seeds")


def _best_by_median(costs: NDArray[np.float64]) -> int:
    medians = np.median(costs, axis=1)
    failures = np.isinf(costs).sum(axis=1)
    return min(range(len(costs)), key=lambda arm: (medians[arm], failures[arm], arm))
