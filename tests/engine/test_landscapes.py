"""The model `point`: descent on the scores themselves, where every answer has a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from problems import SOURCES, runs_of, trained

from tests.cli.commands import nnlab

LOCATION = {
    "data": "location:centre=3:samples=101",
    "model": "point",
    "init": "zeros",
    "batch_size": "full",
    "dtype": "float64",
    "validation": 0,
    "test": 0,
    "standardize": False,
}


def theta(fitted) -> float:
    assert fitted.record.status == "done"
    return float(fitted.weights["0.weight"].item())


def targets(run) -> np.ndarray:
    return SOURCES.parts(run.settings, run.seed).train.y


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_the_point_that_squared_error_settles_at_is_the_mean(engine):
    (run,) = runs_of({**LOCATION, "loss": "mse", "epochs": 60, "lr": 0.3})
    # The distance shrinks by 1 - 2 lr = 0.4 a step: 0.4^60 is below the last place.
    assert theta(trained([run], engine=engine)[run.run_id]) == pytest.approx(targets(run).mean(), rel=1e-14)


def test_each_step_of_squared_error_leaves_the_same_share_of_the_distance():
    (run,) = runs_of({**LOCATION, "loss": "mse", "epochs": 5, "lr": 0.1})
    mean = targets(run).mean()
    assert theta(trained([run])[run.run_id]) == pytest.approx(mean - mean * 0.8**5, rel=1e-13)


def test_the_point_that_absolute_error_settles_at_is_the_median():
    (run,) = runs_of({**LOCATION, "loss": "l1", "epochs": 4000, "lr": 0.5, "schedule": "exponential:gamma=0.995"})
    # An odd number of rows has one median; steps of at most the rate surround it, and the last rate is 1e-9.
    assert theta(trained([run])[run.run_id]) == pytest.approx(np.median(targets(run)), abs=1e-8)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber:delta=0.7", "log_cosh", "quantile:q=0.8"])
@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9", "adam"])
def test_every_way_down_is_the_plain_loops(loss, optimizer):
    settings = {**LOCATION, "loss": loss, "optimizer": optimizer, "init": "normal:std=2", "batch_size": 16}
    runs = runs_of({**settings, "epochs": 3}, lrs=[0.01, 0.1], seeds=[0, 1])
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        # 21 steps of one number, each the mean of at most 16 terms.
        assert theta(native[run.run_id]) == pytest.approx(theta(loop[run.run_id]), rel=1e-12)
        for name, curve in loop[run.run_id].record.curves.items():
            assert native[run.run_id].record.curves[name] == pytest.approx(curve, rel=1e-12, nan_ok=True), name


LANDSCAPE = '''
def tilted(scores, targets, *, tilt: float = 0.3):
    """(theta^2 - 1)^2 + tilt theta: two wells, whatever the targets."""
    theta = scores.squeeze(-2)
    return (theta.square() - 1).square() + tilt * theta
'''


@pytest.mark.parametrize("start", [-1.5, 1.5])
def test_a_loss_of_ones_own_is_a_landscape_and_the_point_rests_where_its_slope_vanishes(tmp_path, start):
    (tmp_path / "land.py").write_text(LANDSCAPE)
    loss = f"{tmp_path / 'land.py'}:tilted:tilt=0.2"
    settings = {**LOCATION, "loss": loss, "init": f"constant:val={start}", "epochs": 200, "lr": 0.05}
    (run,) = runs_of(settings)
    fitted = trained([run])[run.run_id]
    rest = min(np.roots([4, 0, -4, 0.2]).real, key=lambda root: abs(root - start))
    assert theta(fitted) == pytest.approx(rest, rel=1e-12)
    # A point is a constant: what learning must beat is where it began.
    assert fitted.record.scores["constant_loss"] == pytest.approx((start**2 - 1) ** 2 + 0.2 * start, rel=1e-12)
    assert fitted.record.scores["train_loss"] < fitted.record.scores["constant_loss"]


def test_every_command_takes_a_point(tmp_path):
    base = ["--data", "location:centre=3", "--model", "point", "--batch-size", "full", "--seeds", "2", "--epochs", "3"]
    for words in (
        ["sweep-lr", "--lr", "0.01,0.1", "--loss", "l1"],
        ["compare-init", "--inits", "zeros,normal:std=3"],
        ["compare-loss", "--losses", "mse,l1", "--tune-lr", "0.1,0.3", "--tuning-seeds", "1"],
        ["compare-schedule", "--schedules", "none,cosine"],
        ["train", "--out", "trained"],
    ):
        ended = nnlab(*words, *base, "--quiet", cwd=tmp_path)
        assert (ended.code, ended.err) == (0, ""), words
    (tmp_path / "new.csv").write_text("x0\n1\n2\n")
    ended = nnlab("predict", "trained", "new.csv", cwd=tmp_path)
    heading, first, second = ended.out.splitlines()
    assert (ended.code, heading, first) == (0, "y", second)
