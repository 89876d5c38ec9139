"""comparisons.csv: columns, verdicts, failures, and the error of the family by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnlab.analysis.comparisons import check_baseline, comparison_rows
from nnlab.analysis.paired import holm, paired_test
from nnlab.core.errors import UsageError

COLUMNS = [
    *["arm", "baseline", "metric", "n", "mean_difference", "ci_low", "ci_high", "wins", "p", "p_holm"],
    *["p_sign_flip", "detectable_difference", "verdict"],
]


def _runs(values_KN, metric="val_loss"):
    rows = [
        {"run_id": f"{arm}-{seed}", "arm": f"arm{arm}", "seed": seed, "status": "done", metric: value}
        for arm, values in enumerate(values_KN)
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def _compare(runs, metric="val_loss", num_arms=3):
    arms = [f"arm{i}" for i in range(num_arms)]
    return comparison_rows(runs, arms=arms, baseline="arm0", metrics=[metric], judged=metric)


def _values(shifts, num_seeds=10, seed=3):
    generator = np.random.default_rng(seed)
    noise = generator.normal(scale=0.1, size=(len(shifts), num_seeds)) + generator.normal(size=num_seeds)
    return noise + np.reshape(shifts, (-1, 1))


def test_a_row_has_the_columns_of_the_design_and_the_numbers_of_the_paired_test():
    values = _values([0.0, -1.0, 0.02])
    rows = _compare(_runs(values))
    expected = [stats.ttest_rel(values[i], values[0]) for i in (1, 2)]
    ends = expected[0].confidence_interval()
    assert list(rows[0]) == COLUMNS
    assert [row["p"] for row in rows] == pytest.approx([e.pvalue for e in expected])
    assert rows[0]["p_holm"] == pytest.approx(2 * expected[0].pvalue)
    assert (rows[0]["ci_low"], rows[0]["ci_high"]) == pytest.approx((ends.low, ends.high))
    assert rows[0]["mean_difference"] == pytest.approx((values[1] - values[0]).mean())
    assert (rows[0]["n"], rows[0]["wins"], rows[0]["p_sign_flip"]) == (10, 10, 2 / 2**10)
    assert [row["verdict"] for row in rows] == ["better", "not separated"]


def test_a_smaller_loss_is_better_and_a_smaller_accuracy_worse():
    values = _values([0.0, -1.0, 1.0])
    assert [row["verdict"] for row in _compare(_runs(values))] == ["better", "worse"]
    accuracies = _runs(values, "val_accuracy")
    assert [row["verdict"] for row in _compare(accuracies, "val_accuracy")] == ["worse", "better"]
    assert [row["wins"] for row in _compare(accuracies, "val_accuracy")] == [0, 10]


def test_only_the_judged_metric_has_verdicts():
    runs = _runs(_values([0.0, -1.0])).assign(val_accuracy=lambda table: -table["val_loss"])
    rows = comparison_rows(
        runs, arms=["arm0", "arm1"], baseline="arm0", metrics=["val_loss", "val_accuracy"], judged="val_accuracy"
    )
    assert [(row["metric"], row["verdict"]) for row in rows] == [("val_loss", None), ("val_accuracy", "better")]


def test_an_arm_that_mostly_diverges_is_worse_though_what_is_left_of_it_looks_better():
    runs = _runs(_values([0.0, -1.0]))
    diverged = (runs["arm"] == "arm1") & (runs["seed"] > 0)
    runs.loc[diverged, ["status", "val_loss"]] = ["diverged", math.inf]
    row = _compare(runs, num_arms=2)[0]
    assert (row["n"], row["wins"], row["verdict"]) == (10, 1, "worse")
    assert row["mean_difference"] is row["ci_low"] is row["detectable_difference"] is None


def test_one_diverged_run_keeps_an_arm_from_a_mean_but_not_from_a_verdict_by_ranks():
    runs = _runs(_values([0.0, -1.0]))
    runs.loc[(runs["arm"] == "arm1") & (runs["seed"] == 4), ["status", "val_loss"]] = ["diverged", math.inf]
    row = _compare(runs, num_arms=2)[0]
    assert row["mean_difference"] is None
    assert row["wins"] == 9
    # Ranks 1..9 against the 10 of the diverged run: as scipy's exact signed-rank test has it.
    expected = stats.wilcoxon(np.append(-np.arange(1.0, 10.0), 10.0), method="exact").pvalue
    assert row["p"] == pytest.approx(expected)


def test_a_pair_that_the_machine_spoilt_is_not_in_n():
    runs = _runs(_values([0.0, -1.0]))
    runs.loc[(runs["arm"] == "arm1") & (runs["seed"] == 4), ["status", "val_loss"]] = ["failed", math.nan]
    row = _compare(runs, num_arms=2)[0]
    assert (row["n"], row["wins"], row["verdict"]) == (9, 9, "better")


def test_arms_that_never_ran_are_not_separated():
    runs = _runs(_values([0.0, -1.0]))
    runs.loc[runs["arm"] == "arm1", ["status", "val_loss"]] = ["failed", math.nan]
    row = _compare(runs, num_arms=2)[0]
    assert (row["n"], row["p"], row["verdict"]) == (0, None, "not separated")


def test_inert_seeds_give_an_exact_verdict_without_a_p():
    row = _compare(_runs([[0.5] * 4, [0.25] * 4]), num_arms=2)[0]
    assert (row["verdict"], row["p"], row["mean_difference"], row["ci_low"]) == ("better", None, -0.25, None)


def test_one_seed_separates_nothing():
    row = _compare(_runs([[0.5], [0.25]]), num_arms=2)[0]
    assert (row["verdict"], row["p"]) == ("not separated", None)


def test_an_unknown_baseline_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"baseline 'amr1' is not an arm\. Did you mean 'arm1'\? Arms: arm0, arm1\."):
        check_baseline("amr1", ["arm0", "arm1"])


@pytest.mark.parametrize("seed", range(12))
def test_a_verdict_is_the_adjusted_p_below_5_percent_and_the_sign_of_the_difference(seed):
    for row in _compare(_runs(_values([0.0, -0.08, 0.08, 0.0], seed=seed)), num_arms=4):
        side = "better" if row["mean_difference"] < 0 else "worse"
        assert row["verdict"] == (side if row["p_holm"] < 0.05 else "not separated")


@pytest.mark.parametrize(("num_arms", "num_seeds", "experiments"), [(4, 5, 1000), (6, 10, 500)])
def test_among_equal_arms_any_is_separated_in_5_percent_of_experiments_and_called_better_in_half_of_those(
    num_arms, num_seeds, experiments
):
    # On the tests behind the verdicts, which are ten times as quick as the rows. The exact shares are 4.8 and 4.4 %
    # (100000 experiments with scipy's ttest_rel); with as few as 250, stretches of 9 % were seen by chance.
    separated, better = [], []
    generator = np.random.default_rng(11)
    for values in generator.normal(size=(experiments, num_arms, num_seeds)):
        tests = [paired_test(arm, values[0]) for arm in values[1:]]
        adjusted = holm([test.p for test in tests])
        separated.append(min(adjusted) < 0.05)
        better.append(any(p < 0.05 and test.direction < 0 for p, test in zip(adjusted, tests, strict=True)))
    # Three standard errors are added to what is promised.
    assert np.mean(separated) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / experiments)
    assert np.mean(better) < 0.025 + 3 * np.sqrt(0.025 * 0.975 / experiments)
