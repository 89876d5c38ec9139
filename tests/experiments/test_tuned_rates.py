"""A rate for each arm: what the search takes, and what it says of itself."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from nnlab.commands.compare import CompareAnySettings, plan
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.tuning import Tuned, tune, tuning_runs

RATES = (0.01, 0.1, 1.0)


def experiment(metric: str = "val_loss", rates: str = "0.01,0.1,1") -> Experiment:
    given = {"data": "moons:samples=60", "vary": ["optimizer=sgd,adam"], "tune_lr": rates, "metric": metric}
    return plan(CompareAnySettings.from_values(given))


def found(losses: dict[str, list[list[float]]], metric: str = "val_loss", rates: str = "0.01,0.1,1") -> Tuned:
    """The result of tuning if the runs of each arm ended with these losses: a list for each rate, a number for each seed."""
    asked = experiment(metric, rates)
    rows = []
    for run, value in zip(
        tuning_runs(asked), [v for arm in losses.values() for rate in arm for v in rate], strict=True
    ):
        status = "done" if math.isfinite(value) else "diverged"
        rows.append({"run_id": run.run_id, "arm": run.arm, "seed": run.seed, "status": status, metric: value})
    return tune(asked, pd.DataFrame(rows))


def rates_of(result: Tuned) -> dict[str, float]:
    return {arm.name: arm.settings.lr for arm in result.experiment.arms}


def test_every_arm_is_tried_at_every_rate_over_the_same_seeds_of_their_own():
    runs = tuning_runs(experiment())
    grid = {(run.settings.optimizer.name, run.settings.lr, run.seed) for run in runs}
    assert len(runs) == len(grid) == 2 * 3 * 3
    for name in ("sgd", "adam"):
        assert {lr for optimizer, lr, _ in grid if optimizer == name} == set(RATES)
    assert {seed for *_, seed in grid} == {1_000_000, 1_000_001, 1_000_002}


def test_the_rate_is_the_best_by_the_mean_over_seeds_and_one_for_the_arm():
    # By its best seed sgd would take 1, by its median 0.01; by the mean 0.1.
    result = found(
        {"sgd": [[0.4, 0.4, 1.3], [0.5, 0.5, 0.5], [0.1, 1.0, 1.0]], "adam": [[1, 1, 1], [2, 2, 2], [3, 3, 3]]}
    )
    assert rates_of(result) == {"sgd": 0.1, "adam": 0.01}
    assert [arm.settings.lr for arm in result.experiment.arms] == [0.1, 0.01]
    chosen = {(row["arm"], row["lr"]): row["chosen"] for row in result.rows}
    assert [key for key, is_chosen in chosen.items() if is_chosen] == [("sgd", 0.1), ("adam", 0.01)]
    means = {(row["arm"], row["lr"]): row["val_loss_mean"] for row in result.rows}
    assert means["sgd", 0.01] == pytest.approx(0.7)


def test_of_accuracies_the_largest_mean_is_taken():
    result = found(
        {"sgd": [[0.5] * 3, [0.9] * 3, [0.7] * 3], "adam": [[0.5] * 3, [0.7] * 3, [0.6] * 3]}, "val_accuracy"
    )
    assert rates_of(result) == {"sgd": 0.1, "adam": 0.1}
    assert len(result.notes) == 1


def test_a_rate_that_loses_a_seed_is_not_taken_however_good_the_others():
    result = found({"sgd": [[3, 3, 3], [2, 2, 2], [0.1, 0.1, math.inf]], "adam": [[2, 1, 1], [1, 1, 1], [2, 2, 2]]})
    assert rates_of(result) == {"sgd": 0.1, "adam": 0.1}
    lost = {(row["arm"], row["lr"]): row["n_lost"] for row in result.rows}
    assert lost["sgd", 1.0] == 1


def test_the_budget_and_arms_that_are_not_bracketed_are_said():
    result = found({"sgd": [[1] * 3, [2] * 3, [3] * 3], "adam": [[2] * 3, [1] * 3, [2] * 3]})
    budget, open_end = result.notes
    assert budget == "Rates tuned: 3 from 0.01 to 1.0, 3 seeds of their own, 18 runs, by mean val_loss."
    assert open_end.startswith("Not bracketed: the best rate of sgd is at the end of the rates searched.")
    tuning = result.experiment.tuning
    assert tuning is not None
    assert [tuning.brackets(rate) for rate in RATES] == [False, True, False]


def test_a_single_rate_is_no_search_and_two_never_bracket():
    assert len(found({"sgd": [[1] * 3], "adam": [[1] * 3]}, rates="0.1,").notes) == 1
    two = found({"sgd": [[1] * 3, [2] * 3], "adam": [[1] * 3, [2] * 3]}, rates="0.1,1")
    assert "Not bracketed: the best rate of sgd, adam" in two.notes[1]


def test_an_arm_that_no_rate_serves_is_said():
    gone = [[math.inf] * 3] * 3
    result = found({"sgd": gone, "adam": [[2] * 3, [1] * 3, [2] * 3]})
    assert result.notes[1] == "No learning rate worked for sgd: every tuning run failed. Using the smallest rate tried."
    assert rates_of(result)["sgd"] == 0.01
