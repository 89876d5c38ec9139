"""comparisons.csv: each arm against a baseline, paired by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from nnlab.analysis.paired import PairedTest, detectable_difference, holm, paired_test, wins
from nnlab.analysis.scores import higher_is_better, outcomes
from nnlab.core.errors import UsageError, did_you_mean
from nnlab.core.spelling import mention

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nnlab.settings.run_records import TableCell

ComparisonWord = Literal["better", "worse", "not separated"]
SIGNIFICANCE = 0.05


def check_baseline(baseline: str, arms: Sequence[str]) -> None:
    """Refuse a baseline that is not one of the arms.

    Raises:
        UsageError: with the arm of the most similar name.
    """
    if baseline not in arms:
        near = did_you_mean(baseline, arms)
        raise UsageError(f"{mention('baseline')} {baseline!r} is not an arm.{near} Arms: {', '.join(arms)}.")


def comparison_rows(
    runs: pd.DataFrame, *, arms: Sequence[str], baseline: str, metrics: Sequence[str], judged: str
) -> list[dict[str, TableCell]]:
    """The rows of comparisons.csv: for each metric, one for every arm except the baseline, in the order given.

    The family of Holm's adjustment is the arms within one metric. Only rows of `judged` have a verdict, so at most 5 % of
    experiments with equal arms call any of them better or worse, however many other metrics there are.

    An arm with a diverged run has no mean difference, interval or detectable difference. It is tested by signed ranks, with
    diverged runs as the worst (`paired_test`), and a diverged run never wins. A pair in which either run failed through the
    machine's fault has no outcome and is not counted in n, which is then below the number of seeds.

    Args:
        runs: rows of runs.csv: `arm, seed, status` and the metrics.
        arms: the arms, the baseline among them.
        baseline: the arm that the others are compared with.
        metrics: columns to compare on.
        judged: the metric among them that gets verdicts.
    """
    rows: list[dict[str, TableCell]] = []
    for metric in metrics:
        table = outcomes(runs, metric, arms)
        values = {arm: table.loc[arm].to_numpy(dtype=np.float64) for arm in arms}
        rows += _metric_rows(values, baseline, metric, has_verdict=metric == judged)
    return rows


def _metric_rows(
    values: dict[str, NDArray[np.float64]], baseline: str, metric: str, *, has_verdict: bool
) -> list[dict[str, TableCell]]:
    others = [arm for arm in values if arm != baseline]
    pairs = {arm: _complete_pairs(values[arm], values[baseline]) for arm in others}
    tests = {arm: paired_test(*pairs[arm]) for arm in others}
    adjusted = holm([tests[arm].p for arm in others])
    upward = higher_is_better(metric)
    rows: list[dict[str, TableCell]] = []
    for arm, p_holm in zip(others, adjusted, strict=True):
        test, (a, b) = tests[arm], pairs[arm]
        finite = bool(a.size and np.isfinite(a).all() and np.isfinite(b).all())
        rows.append(
            {
                "arm": arm,
                "baseline": baseline,
                "metric": metric,
                "n": test.n,
                "mean_difference": test.difference.estimate if finite else None,
                "ci_low": test.difference.low if finite else None,
                "ci_high": test.difference.high if finite else None,
                "wins": wins(a, b, higher_is_better=upward),
                "p": test.p,
                "p_holm": p_holm,
                "p_sign_flip": test.p_sign_flip,
                "detectable_difference": detectable_difference(a - b, family=len(others)) if finite else None,
                "verdict": _verdict(test, p_holm, higher_is_better=upward) if has_verdict else None,
            }
        )
    return rows


def _complete_pairs(
    values: NDArray[np.float64], baseline: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    both = ~(np.isnan(values) | np.isnan(baseline))
    return values[both], baseline[both]


def _verdict(test: PairedTest, p_holm: float | None, *, higher_is_better: bool) -> ComparisonWord:
    """The verdict by the adjusted p. If the seeds are inert (no p although n is 2 or more), any difference is exact."""
    separated = test.n > 1 if p_holm is None else p_holm < SIGNIFICANCE
    if not separated or test.direction == 0:
        return "not separated"
    return "better" if (test.direction > 0) == higher_is_better else "worse"
