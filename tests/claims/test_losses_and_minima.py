"""Textbook claims about losses, schedules that listen, and descent to a minimum (claims S2, S6, L8, C3; number T15)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import SOURCES, runs_of, trained

from nnlab.catalog.losses import LOSSES, constant_loss
from nnlab.core.spec import Spec, parse_spec

# Asymptotic variance x n of the location estimates under N(0, 1), 10 % N(0, 9) and 10 % N(0, 100). Huber 1964; T15.
PUBLISHED = {
    (0.0, 1.0): {"mse": 1.000, "l1": 1.571, "huber:delta=1.345": 1.053},
    (0.1, 3.0): {"mse": 1.800, "l1": 1.803, "huber:delta=1.345": 1.299},
    (0.1, 10.0): {"mse": 10.90, "l1": 1.897, "huber:delta=1.345": 1.435},
}
SAMPLES, DRAWS = 300, 2000


def estimates(text: str, samples: np.ndarray) -> np.ndarray:
    """The minimiser of each sample's loss, [DRAWS]."""
    spec: Spec = parse_spec(text, what="--loss")
    keys = {name: float(value) for name, value in spec.options}
    best = LOSSES[spec.name].best_constant
    assert best is not None
    return np.array([float(best(torch.from_numpy(sample), 1, **keys)[0]) for sample in samples])


@pytest.mark.parametrize(("outliers", "scale"), PUBLISHED)
def test_mse_l1_and_huber_have_the_published_efficiencies(outliers, scale):
    rng = np.random.default_rng(20240101)
    spread = np.where(rng.uniform(size=(DRAWS, SAMPLES)) < outliers, scale, 1.0)
    samples = spread * rng.standard_normal((DRAWS, SAMPLES))
    for loss, asymptotic in PUBLISHED[outliers, scale].items():
        variance = SAMPLES * estimates(loss, samples).var(ddof=1)
        # A variance from 2000 draws has a relative error of sqrt(2 / 2000) = 3.2 %; four of them.
        assert variance == pytest.approx(asymptotic, rel=0.13), loss


@pytest.mark.parametrize("loss", ["mse", "l1", "huber:delta=1.345"])
def test_descent_settles_where_the_loss_is_least(loss):
    settings = {"data": "location:samples=81", "model": "linear", "init": "zeros", "loss": loss, "batch_size": "full"}
    settings |= {"schedule": "linear:start_factor=1.0:end_factor=1e-4:total_iters=2000", "epochs": 2000, "lr": 0.2}
    settings |= {"dtype": "float64", "standardize": "false", "validation": 0, "test": 0.02}
    (each,) = trained(runs_of(settings, seeds=[3])).values()
    parts = SOURCES.parts(each.record.run.settings, 3)
    wanted = estimates(loss, parts.train.y[None])
    # l1 steps back and forth by its rate, which ends at 2e-5; an odd number of rows makes the median a single point.
    assert float((each.weights or {})["0.bias"]) == pytest.approx(float(wanted[0]), abs=1e-3)
    assert len(parts.train.y) % 2 == 1


def test_outliers_in_the_targets_move_mse_most_and_huber_least():
    settings = {"data": "diabetes", "model": "linear", "outliers": "0.1:scale=10", "epochs": 30, "lr": 0.05}
    means = {}
    for loss in ("mse", "l1", "huber:delta=0.5"):
        runs = trained(runs_of(settings | {"loss": loss}, seeds=range(6)), keep_weights=False).values()
        means[loss] = np.mean([each.record.scores["test_rmse"] for each in runs])
    assert means["huber:delta=0.5"] < means["mse"]
    assert means["l1"] < means["mse"]


@pytest.mark.parametrize("patience", [0, 2, 5])
def test_reduce_on_plateau_lowers_the_rate_at_stalled_epoch_patience_plus_1_and_never_before(patience):
    # From zeros with equal classes and full batches nothing is ever learned: every epoch but the first is stalled.
    settings = {"data": "moons:samples=100:noise=0.1", "model": "mlp:hidden=4", "init": "zeros", "batch_size": "full"}
    settings |= {"schedule": f"reduce_on_plateau:patience={patience}:factor=0.1", "epochs": 20, "lr": 0.1}
    for engine in ("native", "loop"):
        (each,) = trained(runs_of(settings), engine=engine).values()
        assert len(set(each.record.curves["val_loss"])) == 1
        rates = each.record.curves["lr"]  # of the step after each epoch's end
        falls = [epoch for epoch in range(1, 20) if rates[epoch] < rates[epoch - 1]]
        # Epoch 1 is the first heard, and the best so far; stalled epoch k is epoch k + 1.
        # The seventh fall is the last: 1e-8 to 1e-9 is less than PyTorch's eps.
        assert falls == list(range(patience + 2, 20, patience + 1))[:7]
        assert rates[falls[0]] == pytest.approx(0.01, rel=1e-12)


def test_a_validation_loss_that_still_falls_keeps_the_rate():
    settings = {"data": "linear_regression:samples=100", "model": "linear", "epochs": 8, "lr": 0.01}
    (each,) = trained(runs_of(settings | {"schedule": "reduce_on_plateau:patience=0"})).values()
    losses = each.record.curves["val_loss"]
    assert all(after < before for before, after in pairwise(losses))
    assert set(each.record.curves["lr"]) == {0.01}


def test_descent_ends_at_the_known_minimum_of_a_strictly_convex_problem_with_no_gradient_left():
    settings = {"data": "linear_regression:samples=120:features=5:noise=0.5", "model": "linear", "dtype": "float64"}
    settings |= {"batch_size": "full", "epochs": 1500, "lr": 0.1, "validation": 0, "standardize": "false"}
    for each in trained(runs_of(settings, seeds=[0, 1])).values():
        train = SOURCES.parts(each.record.run.settings, each.record.run.seed).train
        x = np.column_stack([train.x, np.ones(len(train.y))])
        known, *_ = np.linalg.lstsq(x, train.y, rcond=None)
        weights = each.weights or {}
        found = np.append(weights["0.weight"].numpy().ravel(), weights["0.bias"].numpy())
        # Rounding alone is left after 1500 steps that each shrink the distance by a fifth of the curvature or more.
        np.testing.assert_allclose(found, known, rtol=0, atol=1e-12)
        gradient = 2 * x.T @ (x @ found - train.y) / len(train.y)
        assert np.linalg.norm(gradient) < 1e-12


def test_separable_logistic_regression_has_no_minimum_to_end_at():
    # Two clouds apart: the loss falls for ever and the weights grow for ever, as the logarithm of the steps.
    settings = {"data": "blobs:samples=60:classes=2:std=0.1:seed=1", "model": "linear", "lr": 0.5, "init": "zeros"}
    norms = []
    for epochs in (100, 400, 1600):
        (each,) = trained(runs_of(settings | {"epochs": epochs, "batch_size": "full"})).values()
        norms.append(float((each.weights or {})["0.weight"].norm()))
        assert each.record.scores["train_loss"] > 0
    assert norms[0] < norms[1] < norms[2]


def test_a_loss_of_ones_own_is_trained_like_any_other(tmp_path):
    (tmp_path / "own_loss.py").write_text(
        "def log_cosh(scores, targets):\n"
        "    d = scores[..., 0, :] - targets\n"
        "    return d.abs() + (1 + (-2 * d.abs()).exp()).log() - 0.6931471805599453\n"
    )
    settings = {
        "data": "sine:samples=80",
        "model": "mlp:hidden=8",
        "activation": "tanh",
        "dtype": "float64",
        "epochs": 5,
    }
    (own,) = trained(runs_of(settings | {"loss": f"{tmp_path / 'own_loss.py'}:log_cosh"})).values()
    (built_in,) = trained(runs_of(settings | {"loss": "log_cosh"})).values()
    # The same function by autograd and by hand: rounding of float64 over 5 calm epochs.
    assert own.record.curves["train_loss"] == pytest.approx(built_in.record.curves["train_loss"], rel=1e-10)
    assert math.isfinite(constant_loss(LOSSES["log_cosh"], torch.tensor([0.1, 0.9]), 1, {}))
