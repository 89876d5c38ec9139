"""`nnlab train` and `nnlab predict`: the model that is kept is a plain PyTorch network, and is used as one."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from commands import nnlab
from safetensors.torch import load_file
from torch import nn

MODEL = ("--model", "mlp:hidden=5x4", "--epochs", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with pets.csv, and a classifier and a regression trained on it."""
    folder = tmp_path_factory.mktemp("pets")
    rng = np.random.default_rng(1)
    size, age = rng.normal(3, 2, size=100), rng.integers(1, 90, 100)
    colour = rng.choice(["red", "blue", "größe, x"], 100)
    kind = np.where(size > 3, "cat", np.where(age > 50, "dog", "mouse"))
    table = pd.DataFrame({"size": size, "colour": colour, "age": age, "kind": kind})
    table.to_csv(folder / "pets.csv", index=False)
    for target in ("kind", "age"):
        ended = nnlab("train", "--data", "pets.csv", "--target", target, *MODEL, "--out", target, cwd=folder)
        assert ended.code == 0, ended.err
    return folder


def predicted(*words: object, cwd) -> pd.DataFrame:
    ended = nnlab("predict", *words, cwd=cwd)
    assert ended.code == 0, ended.err
    return pd.read_csv(io.StringIO(ended.out), dtype={"kind": str})


def plain_network(directory, num_inputs: int, num_outputs: int) -> nn.Sequential:
    """The network as anyone would build it, with the weights that were kept."""
    network = nn.Sequential(
        nn.Linear(num_inputs, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, num_outputs)
    ).double()
    network.load_state_dict({n: w.double() for n, w in load_file(directory / "model" / "weights.safetensors").items()})
    return network


def scaled(column: pd.Series, kept: dict, index: int) -> torch.Tensor:
    return torch.tensor(column.to_numpy(float)).sub(kept["means"][index]).div(kept["scales"][index])


def test_predicted_classes_and_their_probabilities_are_those_of_the_plain_network(folder):
    table = pd.read_csv(folder / "pets.csv")
    kept = json.loads((folder / "kind" / "model" / "model.json").read_text())["preprocessing"]
    colours = [torch.tensor((table["colour"] == colour).to_numpy(float)) for colour in ("blue", "größe, x", "red")]
    inputs = [scaled(table["size"], kept, 0), *colours, scaled(table["age"], kept, 4)]
    with torch.no_grad():
        shares = plain_network(folder / "kind", 5, 3)(torch.stack(inputs, 1)).softmax(1).numpy()
    rows = predicted("kind", "pets.csv", cwd=folder)
    # Both in float64, from the same float32 weights.
    np.testing.assert_allclose(rows[["p(cat)", "p(dog)", "p(mouse)"]], shares, rtol=1e-12)
    assert list(rows["kind"]) == [("cat", "dog", "mouse")[index] for index in shares.argmax(1)]


def test_predicted_numbers_are_in_the_targets_own_unit(folder):
    table = pd.read_csv(folder / "pets.csv")
    kept = json.loads((folder / "age" / "model" / "model.json").read_text())["preprocessing"]
    words = {"colour": ("blue", "größe, x", "red"), "kind": ("cat", "dog", "mouse")}
    flags = [torch.tensor((table[name] == word).to_numpy(float)) for name in words for word in words[name]]
    with torch.no_grad():
        network = plain_network(folder / "age", 7, 1)
        scores = network(torch.stack([scaled(table["size"], kept, 0), *flags], 1))[:, 0].numpy()
    rows = predicted("age", "pets.csv", cwd=folder)
    np.testing.assert_allclose(rows["age"], scores * kept["target_scale"] + kept["target_mean"], rtol=1e-12)
    assert 20 < rows["age"].mean() < 70


def test_columns_are_found_by_name_in_any_order_and_the_target_is_not_needed(folder):
    table = pd.read_csv(folder / "pets.csv")
    table[["age", "colour", "size"]].assign(other="x").to_csv(folder / "turned.csv", index=False)
    pd.testing.assert_frame_equal(
        predicted("kind", "turned.csv", cwd=folder), predicted("kind/model", "pets.csv", cwd=folder)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda table: table.drop(columns="colour"),
            "error: 'colour', which the model needs, is not a column of new.csv.",
        ),
        (
            lambda table: table.assign(colour="green"),
            "error: new.csv, line 2, column 'colour': 'green' is not a category",
        ),
        (lambda table: table.assign(size="big"), "error: new.csv, line 2, column 'size': 'big'"),
        (lambda table: table.assign(age=None), "error: new.csv, line 2, column 'age': missing"),
    ],
    ids=["missing column", "new category", "no number", "empty cell"],
)
def test_rows_that_the_model_cannot_take_are_refused_with_their_place(folder, change, said):
    change(pd.read_csv(folder / "pets.csv")).to_csv(folder / "new.csv", index=False)
    ended = nnlab("predict", "kind", "new.csv", cwd=folder)
    assert ended.code == 3
    assert ended.err.startswith(said)
    assert ended.out == ""


def test_a_directory_without_a_model_is_refused(folder):
    ended = nnlab("predict", ".", "pets.csv", cwd=folder)
    assert (ended.code, ended.err) == (3, "error: . holds no model. `nnlab train --out DIR` makes one, in DIR/model.\n")


def test_a_table_of_predictions_has_every_row(folder):
    shown = nnlab("predict", "kind", "pets.csv", "--format", "table", cwd=folder)
    assert len(shown.out.splitlines()) >= 100
    assert "--all" not in shown.out


def test_of_several_seeds_the_best_by_validation_is_kept_also_when_more_are_added(folder):
    words = ("train", "--data", "moons:samples=100", *MODEL, "--lr", 0.5, "--out", "seeds")
    for seeds in (2, 6):
        assert nnlab(*words, "--seeds", seeds, cwd=folder).code == 0
        runs = pd.read_csv(folder / "seeds" / "runs.csv", dtype={"run_id": str})
        assert len(runs) == seeds
        best = runs.loc[runs["val_loss"].idxmin()]
        kept = json.loads((folder / "seeds" / "model" / "model.json").read_text())
        assert (kept["run_id"], kept["seed"]) == (best["run_id"], best["seed"])
        assert kept["scores"]["val_loss"] == best["val_loss"]


def test_a_run_that_diverged_leaves_no_model(folder):
    assert nnlab("train", "--data", "moons:samples=100", *MODEL, "--lr", 1e20, "--out", "lost", cwd=folder).code == 0
    assert nnlab("predict", "lost", "pets.csv", cwd=folder).code == 3


def test_the_curves_of_a_training_have_a_row_for_each_epoch_from_0_on(folder):
    curves = pd.read_csv(folder / "kind" / "curves.csv")
    assert list(curves["epoch"]) == [0, 1, 2, 3]
    assert list(curves["step"]) == [0, 1, 2, 3]  # 60 rows: one batch an epoch
    assert list(curves["lr"]) == [0.1] * 4


def test_a_training_is_one_seed_unless_more_are_asked_for(folder):
    shown = nnlab("show", "kind", cwd=folder)
    assert "1 seed, 3 epochs" in shown.out
    assert "One seed: there are no intervals" in shown.out


def test_a_row_that_is_reconstructed_comes_back_in_the_data_s_own_unit(folder):
    words = ("--target", "kind", "--model", "autoencoder:code=2:hidden=4", "--epochs", 3, "--out", "rows")
    ended = nnlab("train", "--data", "pets.csv", *words, cwd=folder)
    assert ended.code == 0, ended.err
    kept = json.loads((folder / "rows" / "model" / "model.json").read_text())["preprocessing"]
    table, found = pd.read_csv(folder / "pets.csv"), predicted("rows", "pets.csv", cwd=folder)
    assert list(found) == ["size", "colour=blue", "colour=größe, x", "colour=red", "age"]
    colours = [torch.tensor((table["colour"] == colour).to_numpy(float)) for colour in ("blue", "größe, x", "red")]
    x = torch.stack([scaled(table["size"], kept, 0), *colours, scaled(table["age"], kept, 4)], 1)
    network = nn.Sequential(
        nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 5)
    ).double()
    weights = load_file(folder / "rows" / "model" / "weights.safetensors")
    network.load_state_dict({name: w.double() for name, w in weights.items()})
    with torch.no_grad():
        expected = network(x).numpy() * kept["scales"] + kept["means"]
    np.testing.assert_allclose(found.to_numpy(), expected, rtol=1e-10, atol=1e-12)
