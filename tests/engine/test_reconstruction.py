"""Rows as their own targets: the engines against each other, a linear autoencoder against principal components."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest
import torch
from problems import SOURCES, numbers, run_settings, runs_of, trained
from sklearn.metrics import mean_absolute_error, median_absolute_error, r2_score, root_mean_squared_error

from nnlab.catalog.metrics import measure
from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec, parse_spec
from nnlab.data.loading import load
from nnlab.data.parts import divide
from nnlab.data.splits import parse_split
from nnlab.data.target_noise import Outliers
from nnlab.engine.outcomes import Fitted
from nnlab.ingredients.resolve import complete_settings, settings_for_data
from nnlab.networks.dense_models import autoencoder
from nnlab.networks.layers import Activate, Linear
from nnlab.settings import RunSettings

# 63 training rows: batches of 20, 20, 20 and a short one of 3.
SETTINGS: Final = {
    "data": "blobs:samples=105:features=6:std=3",
    "model": "autoencoder:hidden=5:code=2",
    "activation": "tanh",
    "batch_size": 20,
    "epochs": 3,
    "lr": 0.01,
    "dtype": "float64",
}


def difference(one: Fitted, other: Fitted) -> float:
    """The largest of weights and scores, relative to the largest entry of each."""
    assert one.weights is not None
    assert other.weights is not None
    weights = [(w - other.weights[name]).abs().max() / w.abs().max() for name, w in one.weights.items()]
    assert one.record.scores.keys() == other.record.scores.keys()
    scores = [abs(value / other.record.scores[name] - 1.0) for name, value in one.record.scores.items()]
    return max(float(each) for each in [*weights, *scores])


def test_an_autoencoder_narrows_to_a_linear_code_and_widens_again():
    layers = autoencoder((2, 5), 10, Spec("tanh"), hidden=(8, 4), code=3, bias=False)
    widths = [(layer.inputs, layer.outputs) for layer in layers if isinstance(layer, Linear)]
    assert widths == [(10, 8), (8, 4), (4, 3), (3, 4), (4, 8), (8, 10)]
    active = [isinstance(layer, Activate) for layer in layers]
    assert active == [False, True, False, True, False, False, True, False, True, False]
    assert autoencoder((10,), 10, Spec("tanh"), code=3) == (Linear(10, 3), Linear(3, 10))


@pytest.mark.parametrize("loss", ["mse", "l1", "smooth_l1:beta=0.5", "huber:delta=0.3", "log_cosh"])
@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9", "adam:eps=1e-4"])
@pytest.mark.parametrize("engine", ["native", "vmap"])
def test_every_engine_trains_the_autoencoder_of_the_plain_loop(engine, loss, optimizer):
    runs = runs_of({**SETTINGS, "loss": loss, "optimizer": optimizer}, lrs=[0.003, 0.01], seeds=[0, 1])
    found, wanted = trained(runs, engine=engine), trained(runs, engine="loop")
    # Twelve steps of small products; rounding alone. A factor of D would be 6.
    assert max(difference(found[run.run_id], wanted[run.run_id]) for run in runs) < 1e-12


@pytest.mark.parametrize("model", ["linear", "mlp:hidden=7:norm=layer", "conv1d:channels=4:kernel=3:padding=1"])
def test_other_models_reconstruct_where_the_task_says_so(model):
    runs = runs_of({**SETTINGS, "model": model, "task": "reconstruction"}, seeds=[0, 1])
    found, wanted = trained(runs), trained(runs, engine="loop")
    assert max(difference(found[run.run_id], wanted[run.run_id]) for run in runs) < 1e-12


def test_rows_of_one_feature_are_reconstructed_too():
    settings = {**SETTINGS, "data": "sine:samples=60", "model": "linear", "task": "reconstruction"}
    (native,), (loop,) = (list(trained(runs_of(settings), engine=engine).values()) for engine in ("native", "loop"))
    assert difference(native, loop) < 1e-12


def test_a_tile_of_one_seed_has_the_bits_of_a_tile_of_several():
    runs = runs_of(SETTINGS, lrs=[0.003, 0.01], seeds=[0, 1])
    together, alone = trained(runs), trained(runs[:2])
    assert all(numbers(alone[run.run_id]) == numbers(together[run.run_id]) for run in runs[:2])


def test_a_linear_autoencoder_ends_at_the_error_of_the_principal_components(tmp_path):
    # Gaussian rows whose axes have variances 4, 2, 1, 0.3, 0.1, and a mean that the biases must find.
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    x = rng.standard_normal((200, 5)) * np.sqrt([4.0, 2.0, 1.0, 0.3, 0.1]) @ rotation + rng.standard_normal(5)
    path = tmp_path / "gaussian.npz"
    np.savez(path, x=x)
    settings = {
        "data": str(path),
        "model": "autoencoder:code=2",
        "standardize": False,
        "validation": 0,
        "test": 0,
        "batch_size": "full",
        "epochs": 3000,
        "optimizer": "sgd:momentum=0.9",
        "lr": 0.1,
        "dtype": "float64",
    }
    (fitted,) = trained(runs_of(settings)).values()
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    # The mean over 5 features of what the two largest leave; the descent has converged to 1e-12 or better.
    assert fitted.record.scores["train_loss"] == pytest.approx(eigenvalues[:3].sum() / 5, rel=1e-9)
    assert fitted.record.scores["constant_loss"] == pytest.approx(eigenvalues.sum() / 5, rel=1e-12)


def test_what_learning_must_beat_is_each_features_own_best_constant():
    (run,) = runs_of({**SETTINGS, "loss": "l1"})
    x = SOURCES.parts(run.settings, run.seed).train.x
    (fitted,) = trained([run]).values()
    expected = np.abs(x - np.median(x, axis=0)).mean()
    assert fitted.record.scores["constant_loss"] == pytest.approx(expected, rel=1e-12)


def test_metrics_are_scikit_learns_over_all_features():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(1, 4, 30, generator=generator, dtype=torch.float64) * torch.tensor([1.0, 2.0, 5.0, 0.1])[:, None]
    scores = y + 0.3 * torch.randn(3, 4, 30, generator=generator, dtype=torch.float64)
    found = measure(scores, y, task="reconstruction", link="identity")
    assert list(found) == ["mae", "rmse", "median_ae", "r2"]
    for run in range(3):
        true, predicted = y[0].numpy(), scores[run].numpy()
        flat = true.ravel(), predicted.ravel()
        assert found["mae"][run].item() == pytest.approx(mean_absolute_error(*flat), rel=1e-12)
        assert found["rmse"][run].item() == pytest.approx(root_mean_squared_error(*flat), rel=1e-12)
        assert found["median_ae"][run].item() == pytest.approx(median_absolute_error(*flat), rel=1e-12)
        explained = r2_score(true.T, predicted.T, multioutput="variance_weighted")
        assert found["r2"][run].item() == pytest.approx(explained, rel=1e-12)
    means = y.mean(-1, keepdim=True).expand(1, 4, 30)
    assert measure(means, y, task="reconstruction", link="identity")["r2"].item() == pytest.approx(0.0, abs=1e-12)


def test_a_loss_of_ones_own_sees_every_feature(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def mine(scores, targets):\n    return (scores - targets).square().mean(-2)\n")
    (own,), (mse,) = (trained(runs_of({**SETTINGS, "loss": loss})).values() for loss in ("mine.py:mine", "mse"))
    assert difference(own, mse) < 1e-12


# The data.


@pytest.mark.parametrize("missing", ["error", "mean"])
def test_targets_are_the_inputs_as_the_network_sees_them(tmp_path, missing):
    holes = "" if missing == "mean" else "3.5"
    rows = "\n".join(f"{i},{i * i},{'red' if i % 3 else 'blue'}" for i in range(40))
    (tmp_path / "t.csv").write_text(f"a,b,colour\n{rows}\n{holes},2,red\n")
    dataset = load(Spec(str(tmp_path / "t.csv")), task="reconstruction", missing=missing)
    assert (dataset.task, dataset.num_classes, dataset.feature_names[:2]) == ("reconstruction", 0, ("a", "b"))
    parts = divide(dataset, seed=0, validation=0.2, test=0.2)
    for part in (parts.train, parts.val, parts.test):
        assert part is not None
        assert np.array_equal(part.x, part.y)
        assert np.isfinite(part.y).all()
    assert np.allclose(parts.train.y[:, :2].mean(0), 0.0)  # standardised, as the inputs are


def test_the_target_of_a_table_is_left_out_and_need_not_be_there(tmp_path):
    (tmp_path / "t.csv").write_text("a,b,y\n1,2,\n3,5,0\n4,4,1\n")
    assert load(Spec(str(tmp_path / "t.csv")), task="reconstruction").feature_names == ("a", "b")
    named = load(Spec(str(tmp_path / "t.csv")), task="reconstruction", target="a", missing="drop")
    assert named.feature_names == ("b", "y")
    assert len(named.x) == 2


@pytest.mark.parametrize("with_targets", [True, False])
def test_arrays_need_no_targets(tmp_path, with_targets):
    x = np.arange(24.0).reshape(6, 2, 2)
    more = {"y": np.full(6, np.nan), "y_test": np.zeros(3)} if with_targets else {}
    np.savez(tmp_path / "a.npz", x=x, x_test=x[:3], **more)
    dataset = load(Spec(str(tmp_path / "a.npz")), task="reconstruction")
    assert np.array_equal(dataset.y, x.reshape(6, 4))
    assert np.array_equal(dataset.given["test"][1], x[:3].reshape(3, 4))


def test_a_feature_that_the_split_goes_by_is_not_reconstructed():
    split = load(Spec("iris"), task="reconstruction").feature_names[0]
    dataset = load(Spec("iris"), task="reconstruction", split=parse_split(f"time:{split}"))
    assert dataset.y.shape == (150, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"task": "multiclass"}, "Say task reconstruction or auto"),
        ({"loss": "cross_entropy"}, "not reconstruction. Losses that do: mse, l1, huber, smooth_l1, log_cosh"),
        ({"class_weights": "balanced"}, "class_weights balanced is for classes; the task is reconstruction"),
    ],
)
def test_what_does_not_go_with_reconstruction_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        run_settings({**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"label_noise": 0.1}, "is for classes; the task is reconstruction"),
        ({"outliers": Outliers(0.1, 10.0)}, "is for regression; the task is reconstruction"),
    ],
)
def test_noise_on_targets_that_are_inputs_is_refused(keys, words):
    dataset = load(parse_spec("moons:samples=40", what="--data"), task="reconstruction")
    with pytest.raises(UsageError, match=words):
        divide(dataset, seed=0, validation=0.2, test=0.2, **keys)


def test_a_model_that_reconstructs_is_no_arm_beside_one_that_classifies():
    dataset = load(parse_spec("moons:samples=40", what="--data"))
    settings = complete_settings(RunSettings.from_values({"data": "moons:samples=40", "model": "autoencoder:code=1"}))
    with pytest.raises(UsageError, match=r"the task of the data is binary\. Say task reconstruction"):
        settings_for_data(settings, dataset)
