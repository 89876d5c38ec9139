"""Selection, summary rows and steps to a threshold, on small tables worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nnlab.analysis.scores import higher_is_better, inert_arms, metric_columns
from nnlab.analysis.selection import select
from nnlab.analysis.summaries import summary_rows
from nnlab.analysis.thresholds import auto_threshold, num_reached, steps_to_threshold
from nnlab.core.errors import UsageError

NAN, INF = math.nan, math.inf


def _runs(losses, statuses=None, **columns):
    """Rows of runs.csv: one arm for each key, one seed for each loss."""
    rows = [
        {"run_id": f"{arm}/{seed}", "arm": arm, "seed": seed, "status": "done", "lr": float(arm), "val_loss": loss}
        for arm, values in losses.items()
        for seed, loss in enumerate(values)
    ]
    runs = pd.DataFrame(rows).assign(**columns)
    for run_id, status in (statuses or {}).items():
        runs.loc[runs["run_id"] == run_id, "status"] = status
        runs.loc[runs["run_id"] == run_id, "val_loss"] = INF if status == "diverged" else NAN
    return runs


CLEAR = {"0.01": [2.0, 2.1, 2.05, 2.02], "0.1": [1.0, 1.1, 1.02, 1.05], "1.0": [1.01, 1.08, 1.05, 1.04]}
ARMS = ("0.01", "0.1", "1.0")


def test_the_best_is_the_least_mean_and_an_arm_close_to_it_is_tied():
    selection = select(_runs(CLEAR), arms=ARMS, metric="val_loss")
    assert selection.best == "0.1"
    assert selection.tied == {"0.1", "1.0"}


def test_where_higher_is_better_the_best_is_the_largest_mean():
    runs = _runs(CLEAR).rename(columns={"val_loss": "val_accuracy"})
    assert select(runs, arms=ARMS, metric="val_accuracy").best == "0.01"


@pytest.mark.parametrize("status", ["diverged", "failed"])
def test_an_arm_with_a_failed_run_is_neither_best_nor_tied(status):
    selection = select(_runs(CLEAR, {"0.1/3": status}), arms=ARMS, metric="val_loss")
    assert selection.best == "1.0"
    assert selection.tied == {"1.0"}


def test_a_collapsed_run_counts_as_a_failed_one():
    selection = select(_runs(CLEAR), arms=ARMS, metric="val_loss", collapsed={"0.1/0"})
    assert selection.best == "1.0"


def test_where_no_arm_is_whole_the_best_median_wins_with_failed_runs_as_worst():
    statuses = {"0.01/0": "diverged", "0.1/0": "diverged", "0.1/1": "diverged", "0.1/2": "failed", "1.0/0": "diverged"}
    selection = select(_runs(CLEAR, statuses), arms=ARMS, metric="val_loss")
    assert (selection.best, selection.tied) == ("1.0", {"1.0"})
    assert "median" in selection.basis


def test_without_a_validation_part_nothing_is_selected_and_the_basis_says_so():
    runs = _runs({arm: [NAN] * 4 for arm in ARMS}, {"1.0/0": "diverged"}, train_loss=1.0)
    selection = select(runs, arms=ARMS, metric="val_loss")
    assert (selection.best, selection.tied) == (None, frozenset())
    assert "no run has a val_loss" in selection.basis
    rows = summary_rows(runs, arms=ARMS, factor="lr", selection=selection)
    assert [row["best"] for row in rows] == [False, False, False]
    assert [row["tied"] for row in rows] == [None, None, None]
    assert not any(key.startswith("val_loss") for key in rows[0])


def test_where_every_run_diverged_nothing_is_selected():
    runs = _runs({"0.1": [INF, INF]}).assign(status="diverged")
    assert select(runs, arms=("0.1",), metric="val_loss").best is None


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="val_accuracy"):
        higher_is_better("val_acuracy")


def test_a_summary_has_one_row_for_each_arm_in_order_and_exactly_one_best():
    runs = _runs(CLEAR, test_accuracy=0.5)
    selection = select(runs, arms=ARMS, metric="val_loss")
    verdicts = {"0.01": ("too small", "because"), "0.1": ("good", ""), "1.0": ("good", "")}
    rows = summary_rows(
        runs, arms=ARMS, factor="lr", selection=selection, verdicts=verdicts, collapsed=frozenset({"1.0/2"})
    )
    five = ["mean", "ci_low", "ci_high", "median", "iqm"]
    assert list(rows[0]) == [
        *["arm", "lr", "n", "n_diverged", "n_collapsed", "n_failed"],
        *[f"val_loss_{part}" for part in five],
        *[f"test_accuracy_{part}" for part in five],
        *["verdict", "reason", "best", "tied"],
    ]
    assert [row["arm"] for row in rows] == list(ARMS)
    assert [row["lr"] for row in rows] == [0.01, 0.1, 1.0]
    assert [row["best"] for row in rows] == [False, True, False]
    assert [row["n_collapsed"] for row in rows] == [0, 0, 1]
    assert rows[0]["verdict"] == "too small"


def test_a_summarys_numbers_are_those_of_its_runs():
    runs = _runs(CLEAR)
    row = summary_rows(runs, arms=ARMS, factor="lr", selection=select(runs, arms=ARMS, metric="val_loss"))[1]
    low, high = stats.ttest_1samp(CLEAR["0.1"], 0.0).confidence_interval()
    assert row["val_loss_mean"] == pytest.approx(np.mean(CLEAR["0.1"]))
    assert (row["val_loss_ci_low"], row["val_loss_ci_high"]) == pytest.approx((low, high))
    assert row["val_loss_median"] == pytest.approx(1.035)
    assert row["val_loss_iqm"] == pytest.approx(1.035)
    assert row["n_collapsed"] is None


def test_an_arm_with_a_diverged_run_has_an_infinite_mean_no_interval_and_a_finite_median():
    runs = _runs(CLEAR, {"0.1/3": "diverged"}, val_accuracy=[0.5, 0.6, 0.7, 0.8] * 3)
    runs.loc[runs["status"] == "diverged", "val_accuracy"] = NAN
    row = summary_rows(runs, arms=ARMS, factor="lr", selection=select(runs, arms=ARMS, metric="val_loss"))[1]
    assert (row["n"], row["n_diverged"]) == (4, 1)
    assert row["val_loss_mean"] == INF
    assert row["val_loss_ci_low"] is row["val_loss_ci_high"] is None
    assert row["val_loss_median"] == pytest.approx((1.02 + 1.1) / 2)
    assert math.isnan(row["val_accuracy_mean"])
    # Worst for an accuracy is below all others: the median of (worst, 0.5, 0.6, 0.7).
    assert row["val_accuracy_median"] == pytest.approx(0.55)


def test_an_arm_of_which_most_runs_diverged_has_no_median_accuracy():
    runs = _runs({"1.0": [1.0, 1.0, 1.0]}, {"1.0/0": "diverged", "1.0/1": "diverged"}, val_accuracy=[NAN, NAN, 0.9])
    row = summary_rows(runs, arms=("1.0",), factor="lr", selection=select(runs, arms=("1.0",), metric="val_loss"))[0]
    assert row["val_loss_median"] == INF
    assert math.isnan(row["val_accuracy_median"])


def test_a_metric_that_does_not_apply_to_an_arm_has_empty_cells_and_one_that_diverged_has_nan():
    brier = [NAN] * 4 + [0.1, 0.2, 0.1, 0.2] + [NAN] * 4
    runs = _runs(CLEAR, {f"1.0/{seed}": "diverged" for seed in range(4)}, val_brier=brier)
    rows = summary_rows(runs, arms=ARMS, factor="lr", selection=select(runs, arms=ARMS, metric="val_loss"))
    cells = [[row[f"val_brier_{part}"] for part in ("mean", "median", "iqm")] for row in rows]
    assert cells[0] == [None] * 3
    assert cells[1][0] == pytest.approx(0.15)
    assert all(math.isnan(cell) for cell in cells[2])


def test_a_factor_that_is_no_column_of_the_runs_repeats_the_arm():
    runs = _runs(CLEAR)
    rows = summary_rows(runs, arms=ARMS, factor="width", selection=select(runs, arms=ARMS, metric="val_loss"))
    assert [row["width"] for row in rows] == list(ARMS)


def test_seeds_that_change_nothing_are_found():
    runs = _runs({"0.1": [1.0, 1.0, 1.0], "1.0": [1.0, 1.0, 1.1], "2.0": [INF, INF, INF]})
    assert inert_arms(runs, "val_loss", ("0.1", "1.0", "2.0")) == ("0.1",)
    assert inert_arms(_runs({"0.1": [1.0]}), "val_loss", ("0.1",)) == ()


def test_metric_columns_are_losses_and_metrics_of_a_part_and_nothing_else():
    columns = ["run_id", "lr", "train_loss", "batch_loss", "val_loss", "test_r2", "steps_to_threshold", "val_custom"]
    assert metric_columns(pd.DataFrame(columns=columns)) == ("train_loss", "batch_loss", "val_loss", "test_r2")


CURVES = pd.DataFrame(
    [
        (arm, f"{arm}/{seed}", epoch, 40 * epoch, loss + 0.1 * seed)
        for arm, losses in {"0.1": [2.0, 1.5, 0.8, 0.4], "1.0": [2.0, 0.9, 0.3, 0.5], "9.0": [2.0, 8.0]}.items()
        for seed in (0, 1)
        for epoch, loss in enumerate(losses)
    ],
    columns=["arm", "run_id", "epoch", "step", "val_loss"],
)


def test_the_threshold_is_midway_between_the_first_loss_and_the_best_arms_last():
    ends = _runs({"0.1": [0.4, 0.5], "1.0": [0.5, 0.5], "9.0": [8.0, 8.0]})
    assert auto_threshold(CURVES, ends, "0.1") == pytest.approx((2.05 + 0.45) / 2)


def test_the_loss_at_the_end_is_that_of_the_epoch_kept_and_of_runs_that_finished():
    stopped_early = _runs({"1.0": [0.3, 0.3, 9.9]}, {"1.0/2": "diverged"})  # the best epoch's loss, not 0.5 of the last
    assert auto_threshold(CURVES, stopped_early, "1.0") == pytest.approx((2.05 + 0.3) / 2)


def test_steps_are_those_of_the_first_epoch_end_at_or_below_and_inf_where_there_is_none():
    steps = steps_to_threshold(CURVES, 0.9)
    assert steps.to_dict() == {"0.1/0": 80, "0.1/1": 80, "1.0/0": 40, "1.0/1": 80, "9.0/0": INF, "9.0/1": INF}
    assert num_reached(steps) == 4


def test_a_run_that_starts_below_the_threshold_needs_no_steps():
    assert steps_to_threshold(CURVES, 3.0)["9.0/0"] == 0


def test_without_validation_there_is_no_threshold_and_no_steps():
    curves = CURVES.assign(val_loss=NAN)
    assert auto_threshold(curves, _runs({"0.1": [NAN, NAN]}), "0.1") is None
    assert steps_to_threshold(curves, 1.0).isna().all()


def test_a_summary_counts_who_reached_the_threshold_and_gives_the_median_with_inf():
    runs = _runs({"0.1": [1.0] * 3, "1.0": [1.0] * 3}, steps_to_threshold=[40.0, 80.0, INF, INF, 40.0, NAN])
    selection = select(runs, arms=("0.1", "1.0"), metric="val_loss")
    rows = summary_rows(runs, arms=("0.1", "1.0"), factor="lr", selection=selection)
    assert [row["n_reached"] for row in rows] == [2, 1]
    assert [row["steps_to_threshold_median"] for row in rows] == [80.0, INF]
