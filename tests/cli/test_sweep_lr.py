"""`nnlab sweep-lr` from end to end: what it answers, on what data, and what it writes."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from commands import Ended, nnlab

SMALL = ("--epochs", 2, "--seeds", 2, "--lr", "0.1,1", "--model", "mlp:hidden=8x8")
MOONS = ("--data", "moons:samples=100")

LOSSES = "train_loss,batch_loss,val_loss,test_loss"
CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "brier", "ece")
NUMBERS = ("mae", "rmse", "median_ae", "r2")


def header(metrics: tuple[str, ...]) -> str:
    of_parts = ",".join(f"{part}_{metric}" for part in ("val", "test") for metric in metrics)
    run = "run_id,arm,seed,status,diverged_step,epochs,steps,lr,init,loss,schedule,optimizer,model,data"
    return f"{run},{LOSSES},steps_to_threshold,{of_parts},constant_loss,engine"


def sweep(*words: object, cwd) -> Ended:
    return nnlab("sweep-lr", *SMALL, *words, cwd=cwd)


def summary_of(ended: Ended) -> pd.DataFrame:
    assert ended.code == 0, ended.err
    return pd.read_csv(io.StringIO(ended.out))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a person's own files."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    size, age = rng.normal(size=90), rng.integers(1, 90, 90)
    colour = rng.choice(["red", "blue", "größe, x"], 90)
    kind = np.where(size > 0.3, "cat", np.where(age > 50, "dog", "mouse"))
    table = pd.DataFrame({"size": size, "colour": colour, "age": age})
    table.assign(kind=kind).to_csv(folder / "pets.csv", index=False)
    table.assign(price=3 * size + 0.1 * age).to_csv(folder / "prices.csv", index=False)
    np.savez(folder / "arrays.npz", x=np.stack([size, age], 1), y=(size > 0).astype(int))
    return folder


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    """A folder with one finished sweep, `out`, and how its command ended."""
    folder = tmp_path_factory.mktemp("moons")
    return folder, sweep(*MOONS, "--out", "out", cwd=folder)


@pytest.mark.parametrize(
    ("data", "metric"),
    [
        (("digits",), "test_accuracy_mean"),
        (("diabetes",), "test_rmse_mean"),
        (("quadratic",), "test_rmse_mean"),
        (("pets.csv", "--target", "kind"), "test_accuracy_mean"),
        (("prices.csv", "--target", "price"), "test_rmse_mean"),
        (("arrays.npz",), "test_accuracy_mean"),
    ],
    ids=lambda case: case[0] if isinstance(case, tuple) else "",
)
def test_every_kind_of_data_can_be_swept(files, data, metric):
    summary = summary_of(sweep("--data", *data, "--name", data[0], cwd=files))
    assert list(summary["lr"]) == [0.1, 1.0]
    assert list(summary["n"]) == [2, 2]
    assert summary["best"].sum() == 1
    assert metric in summary
    assert set(summary["verdict"]) <= {"too small", "good", "edge", "diverges", "nothing learned"}
    assert (files / "results" / "sweep-lr" / data[0] / "summary.csv").is_file()


def test_a_pipe_gets_the_summary_file_and_stderr_the_words(moons):
    folder, ended = moons
    assert ended.code == 0
    assert ended.out == (folder / "out" / "summary.csv").read_text()
    assert "4 of 4 runs done, best so far lr 1 (val_loss" in ended.err
    assert ended.err.endswith("Files: out\n")


def test_the_columns_of_the_files_are_the_documented_ones(files, moons):
    folder, _ = moons
    assert (folder / "out" / "runs.csv").read_text().partition("\n")[0] == header(CLASSES)
    curve = "run_id,arm,seed,epoch,step,lr,batch_loss,train_loss,val_loss"
    measured = ",".join(f"val_{metric}" for metric in CLASSES)
    assert (folder / "out" / "curves.csv").read_text().partition("\n")[0] == f"{curve},{measured}"
    of_metrics = [
        f"{name}_{cell}"
        for name in (*LOSSES.split(","), *(f"{part}_{metric}" for part in ("val", "test") for metric in CLASSES))
        for cell in ("mean", "ci_low", "ci_high", "median", "iqm")
    ]
    first = ["arm", "lr", "n", "n_diverged", "n_collapsed", "n_failed"]
    last = ["steps_to_threshold_median", "n_reached", "verdict", "reason", "best", "tied"]
    assert (folder / "out" / "summary.csv").read_text().partition("\n")[0].split(",") == [*first, *of_metrics, *last]
    assert sweep("--data", "diabetes", "--out", "numbers", cwd=files).code == 0
    assert (files / "numbers" / "runs.csv").read_text().partition("\n")[0] == header(NUMBERS)


def test_the_manifest_says_what_was_done_and_by_what(moons):
    folder, _ = moons
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert manifest["command"] == "sweep-lr"
    assert manifest["factor"] == "lr"
    assert manifest["arms"] == ["0.1", "1.0"]
    assert manifest["seeds"] == [0, 1]
    assert manifest["argv"] == ["nnlab", "sweep-lr", *map(str, SMALL), *MOONS, "--out", "out"]
    assert set(manifest["versions"]) == {"nnlab", "python", "torch", "numpy", "pandas"}
    assert (manifest["device"], manifest["dtype"]) == ("cpu", "float32")
    assert manifest["started"] <= manifest["finished"]
    assert manifest["seconds"] > 0
    assert len(manifest["data_hash"]) == 64
    assert manifest["facts"]["basis"] == "by mean val_loss over seeds"
    assert manifest["facts"]["sharpness"] > 0


def test_the_table_fits_and_names_the_best(moons):
    folder, _ = moons
    for columns in (80, 60, 40):
        shown = nnlab("show", "out", cwd=folder, COLUMNS=str(columns))
        assert shown.code == 0
        assert max(map(len, shown.out.splitlines())) <= columns
        assert "Best: lr 1, by mean val_loss over seeds." in shown.out
        assert "val" in shown.out
    assert "100, mlp:hidden=8x8, sgd, 2 seeds, 2 epochs" in nnlab("show", "out", cwd=folder).out


def test_what_a_grid_too_short_advises_can_be_pasted_and_reuses_its_runs(tmp_path):
    short = ("--data", "moons:samples=100", "--epochs", 1, "--seeds", 2, "--out", "out")
    ended = nnlab("sweep-lr", *short, "--lr", "0.01:0.1:3", cwd=tmp_path)
    advice = next(line for line in ended.err.splitlines() if line.startswith("Not bracketed: extend the grid to --lr "))
    longer = advice.removeprefix("Not bracketed: extend the grid to --lr ").removesuffix(".")
    before = pd.read_csv(tmp_path / "out" / "runs.csv")
    ended = nnlab("sweep-lr", *short, "--lr", longer, cwd=tmp_path)
    assert ended.code == 0
    after = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert f"{len(after) - 6} of {len(after) - 6} runs done" in ended.err
    assert set(before["run_id"]) < set(after["run_id"])
    assert after["lr"].max() > 0.1


def test_without_a_validation_part_nothing_is_selected_and_the_table_says_so(tmp_path):
    ended = sweep(*MOONS, "--validation", 0, "--format", "table", cwd=tmp_path)
    assert "No best arm: no run has a val_loss." in ended.out
    assert "best" not in ended.out.replace("No best arm", "")


def test_one_seed_is_said(tmp_path):
    ended = nnlab("sweep-lr", *MOONS, "--epochs", 1, "--lr", "0.1,1", "--seeds", "5,", cwd=tmp_path)
    summary = summary_of(ended)
    assert "One seed: there are no intervals and no tests." in ended.err
    assert summary["val_loss_ci_low"].isna().all()


def test_seeds_that_change_nothing_are_said(tmp_path):
    still = ("--data", "quadratic", "--model", "linear", "--init", "zeros", "--batch-size", "full", "--no-shuffle")
    ended = nnlab("sweep-lr", *still, "--epochs", 2, "--seeds", 3, "--lr", "0.1,0.5", cwd=tmp_path)
    assert "The seeds change nothing in every arm" in ended.err


def test_where_every_run_diverges_that_is_the_answer(tmp_path):
    ended = nnlab("sweep-lr", *MOONS, "--epochs", 1, "--seeds", 2, "--lr", "1e20,1e25", cwd=tmp_path)
    summary = summary_of(ended)
    assert list(summary["n_diverged"]) == [2, 2]
    assert list(summary["val_loss_mean"]) == [np.inf, np.inf]
    assert not summary["best"].any()
    assert "Not bracketed: extend the grid" in ended.err


def test_where_nothing_is_learned_no_rate_is_called_good(tmp_path):
    ended = nnlab("sweep-lr", *MOONS, "--epochs", 1, "--seeds", 2, "--lr", "1e-6,1e-5", cwd=tmp_path)
    assert set(summary_of(ended)["verdict"]) == {"nothing learned"}


def test_the_loop_engine_gives_the_same_answer(tmp_path, moons):
    folder, _ = moons
    loop = summary_of(sweep(*MOONS, "--engine", "loop", cwd=tmp_path))
    native = pd.read_csv(folder / "out" / "summary.csv")
    # Two float32 engines: a batched product may sum in another order.
    np.testing.assert_allclose(loop["train_loss_mean"], native["train_loss_mean"], rtol=1e-4)
    assert list(loop["verdict"]) == list(native["verdict"])


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path):
    ended = sweep(*MOONS, "--dry-run", cwd=tmp_path)
    plan = pd.read_csv(io.StringIO(ended.out)).set_index("setting")["value"]
    assert (plan["runs"], plan["runs to train"]) == ("4", "4")
    assert float(plan["seconds"]) > 0
    assert float(plan["memory (MiB)"]) > 100
    assert "Nothing was trained." in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_what_is_there_already_says_so(moons):
    folder, _ = moons
    ended = sweep(*MOONS, "--out", "out", "--dry-run", cwd=folder)
    plan = pd.read_csv(io.StringIO(ended.out)).set_index("setting")["value"]
    assert plan["runs to train"] == "0"
    assert "There is nothing to train" in ended.err


def test_verbose_tells_how_and_how_long(tmp_path):
    told = sweep(*MOONS, "--verbose", cwd=tmp_path).err
    assert "engine native, float32, device cpu, threads" in told
    assert "runs to train 4, tiles 1" in told
    for phase in ("settings and data (moons:samples=100, 100 rows): ", "training: ", "conclusion and files: "):
        assert phase in told


def test_quiet_says_nothing_of_a_success(tmp_path):
    assert sweep(*MOONS, "--quiet", cwd=tmp_path).err == ""


@pytest.mark.parametrize("form", ["json", "jsonl", "markdown", "table", "csv"])
def test_every_format_is_shown_from_the_files(moons, form):
    folder, _ = moons
    shown = sweep(*MOONS, "--out", "out", "--format", form, cwd=folder)
    assert shown.code == 0
    assert "good" in shown.out
    if form == "json":
        assert [row["lr"] for row in json.loads(shown.out)] == [0.1, 1.0]


def test_a_name_may_have_brackets_and_spaces(tmp_path):
    ended = sweep(*MOONS, "--name", "a [red] name", cwd=tmp_path)
    assert ended.err.endswith("Files: results/sweep-lr/a [red] name\n")
    assert (tmp_path / "results" / "sweep-lr" / "a [red] name" / "runs.csv").is_file()
