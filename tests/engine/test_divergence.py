"""A run that diverges is a result: the same step in both engines, infinite losses, and its curves end there."""

from __future__ import annotations

import math
from typing import Final

import pytest
from problems import numbers, runs_of, trained

# Growth by a factor a step, far from the limit's edge, so that rounding can't move the step at which a bound is crossed.
DIVERGING: Final = {
    "full batch": ({"data": "quadratic", "model": "linear", "batch_size": "full", "epochs": 30}, [1.5, 4.0, 1e3, 1e30]),
    "within an epoch": (
        {"data": "linear_regression:samples=200", "model": "linear", "batch_size": 7, "epochs": 4},
        [2.0, 10.0, 1e200, 1e308],
    ),
    "momentum": (
        {"data": "quadratic", "model": "linear", "optimizer": "sgd:momentum=0.9", "batch_size": 16, "epochs": 20},
        [8.0, 100.0],
    ),
    "adam": ({"data": "quadratic", "model": "mlp:hidden=8", "optimizer": "adam", "epochs": 20}, [1e4, 1e155, 1e300]),
    "relu": ({"data": "linear_regression:samples=150", "model": "mlp:hidden=8x8", "epochs": 9}, [1e3, 1e9, 1e300]),
    "no validation": (
        {"data": "linear_regression:samples=150", "model": "linear", "validation": 0, "test": 0, "epochs": 9},
        [100.0],
    ),
}
LOSSES: Final = ("train_loss", "batch_loss", "val_loss", "test_loss")


@pytest.mark.parametrize("name", DIVERGING)
def test_both_engines_see_a_run_diverge_at_the_same_step(name):
    settings, rates = DIVERGING[name]
    runs = runs_of({**settings, "dtype": "float64"}, lrs=rates, seeds=[0, 1])
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        one, other = native[run.run_id].record, loop[run.run_id].record
        assert (one.status, one.diverged_step) == (other.status, other.diverged_step), run.run_id
        assert one.status == "diverged"
        assert (one.steps, one.epochs) == (other.steps, other.epochs)
        assert len(one.curves["train_loss"]) == len(other.curves["train_loss"])


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_the_losses_of_a_diverged_run_are_infinite_and_its_curves_end_before_it(engine):
    settings, rates = DIVERGING["within an epoch"]
    runs = runs_of({**settings, "dtype": "float64"}, lrs=rates, seeds=[0, 1])
    for fitted in trained(runs, engine=engine).values():
        record = fitted.record
        assert all(record.scores[name] == math.inf for name in LOSSES)
        assert math.isfinite(record.scores["constant_loss"])
        assert all(math.isnan(record.scores[name]) for name in ("val_rmse", "test_r2", "val_mae"))
        assert record.diverged_step == record.steps
        assert all(math.isfinite(loss) for loss in record.curves["train_loss"])
        assert {len(values) for values in record.curves.values()} == {len(record.curves["epoch"])}
        assert record.curves["step"][-1] < record.diverged_step


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_a_diverged_run_lacks_the_metrics_that_a_finished_one_of_its_loss_lacks(engine):
    problem = {"data": "moons:samples=100", "loss": "hinge", "model": "mlp:hidden=4x4", "epochs": 2}
    done, lost = (fitted.record for fitted in trained(runs_of(problem, lrs=[0.1, 1e30]), engine=engine).values())
    assert (done.status, lost.status) == ("done", "diverged")
    assert done.scores.keys() == lost.scores.keys()
    assert "val_accuracy" in lost.scores
    assert "val_brier" not in lost.scores


def test_the_losses_of_parts_that_are_not_there_are_not_made_infinite():
    settings, rates = DIVERGING["no validation"]
    (fitted,) = trained(runs_of(settings, lrs=rates)).values()
    assert {name for name in LOSSES if name in fitted.record.scores} == {"train_loss", "batch_loss"}


def test_the_step_is_the_first_whose_batch_loss_passes_ten_thousand_times_the_loss_before_training():
    """One weight on a quadratic: the error is multiplied by 1 - lr lambda at every step, so the step is known."""
    settings = {"data": "quadratic:dimension=1:condition=1", "model": "linear:bias=false", "batch_size": "full"}
    lr, curvature = 2.0, 2.0
    growth = (1 - lr * curvature) ** 2  # of the loss: 9
    first_above = next(step for step in range(1, 100) if growth ** (step - 1) > 1e4)
    (fitted,) = trained(runs_of({**settings, "dtype": "float64", "epochs": 20}, lrs=[lr])).values()
    assert fitted.record.diverged_step == first_above == 6
    assert fitted.record.curves["epoch"] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_a_run_that_starts_with_an_infinite_loss_has_diverged_at_its_first_step_and_has_no_curves(engine):
    settings = {"data": "moons:samples=60", "model": "mlp:hidden=4x4", "init": "normal:std=1e150", "dtype": "float64"}
    (fitted,) = trained(runs_of({**settings, "loss": "mse"}), engine=engine).values()
    assert (fitted.record.status, fitted.record.diverged_step) == ("diverged", 1)
    assert not fitted.record.curves
    assert fitted.record.scores["val_loss"] == math.inf


@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.5", "adam", "lion"])
def test_runs_that_start_infinite_leave_the_others_alone(optimizer):
    calm = {"data": "moons:samples=60", "model": "mlp:hidden=4x4", "loss": "mse", "optimizer": optimizer, "epochs": 3}
    wild = {**calm, "init": "normal:std=1e30"}
    beside = trained(runs_of(wild, name="wild") + runs_of(calm, name="calm", seeds=[0, 1]))
    assert beside["wild|0.1|0"].record.status == "diverged"
    for run_id, alone in trained(runs_of(calm, name="calm", seeds=[0, 1])).items():
        assert numbers(beside[run_id]) == numbers(alone)


@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9", "adam", "rmsprop:centered=true"])
def test_a_tile_of_which_every_run_diverges_ends_quietly(optimizer):
    settings = {"data": "linear_regression:samples=100", "model": "mlp:hidden=5", "optimizer": optimizer, "epochs": 5}
    finished = trained(runs_of(settings, lrs=[1e30, 1e35], seeds=[0, 1]))
    assert {fitted.record.status for fitted in finished.values()} == {"diverged"}
    assert all(fitted.weights is None for fitted in finished.values())


def test_a_parameter_that_overflows_in_the_last_step_is_seen_at_the_end_of_the_epoch():
    settings = {"data": "quadratic", "model": "linear", "batch_size": "full", "epochs": 1, "dtype": "float32"}
    (fitted,) = trained(runs_of(settings, lrs=[1e38])).values()
    assert (fitted.record.status, fitted.record.diverged_step) == ("diverged", 1)
