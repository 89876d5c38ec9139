"""`nnlab compare`, `compare-loss` and `compare-schedule` from end to end: what they answer, write and keep."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest
from commands import Ended, nnlab

from nnlab.analysis.intervals import metric_interval
from nnlab.analysis.paired import detectable_difference, holm, paired_test, wins

SMALL = ("--data", "moons:samples=100", "--model", "mlp:hidden=8", "--epochs", 2)
LOSSES = ("compare-loss", *SMALL, "--tune-lr", "0.1,1,10", "--tuning-seeds", 2)

COMPARISONS = (
    "arm,baseline,metric,n,mean_difference,ci_low,ci_high,wins,p,p_holm,p_sign_flip,detectable_difference,verdict"
)


def summary_of(ended: Ended) -> pd.DataFrame:
    assert ended.code == 0, ended.err
    return pd.read_csv(io.StringIO(ended.out))


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """A folder with a finished comparison of three arms over six seeds, `out`, and how its command ended."""
    folder = tmp_path_factory.mktemp("rates")
    words = ("compare", *SMALL, "--vary", "lr=0.01,1,2", "--seeds", 6, "--baseline", "1.0", "--out", "out")
    return folder, nnlab(*words, cwd=folder)


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """The same of compare-loss."""
    folder = tmp_path_factory.mktemp("losses")
    return folder, nnlab(*LOSSES, "--losses", "bce,hinge", "--seeds", 3, "--out", "out", cwd=folder)


def test_comparisons_csv_has_the_documented_columns(rates):
    folder, ended = rates
    assert ended.code == 0, ended.err
    lines = (folder / "out" / "comparisons.csv").read_text().splitlines()
    assert lines[0] == COMPARISONS
    rows = pd.read_csv(folder / "out" / "comparisons.csv")
    assert set(rows["arm"]) == {0.01, 2.0}
    assert set(rows.loc[rows["verdict"].notna(), "metric"]) == {"val_loss"}
    assert "test_accuracy" in set(rows["metric"])


def test_comparisons_csv_says_what_the_paired_statistics_say_of_runs_csv(rates):
    folder, _ = rates
    runs = pd.read_csv(folder / "out" / "runs.csv").pivot(index="arm", columns="seed", values="val_loss")
    rows = pd.read_csv(folder / "out" / "comparisons.csv")
    rows = rows[rows["metric"] == "val_loss"].set_index("arm")
    tests = {arm: paired_test(runs.loc[arm], runs.loc[1.0]) for arm in (0.01, 2.0)}
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    for arm, test in tests.items():
        row, difference = rows.loc[arm], runs.loc[arm] - runs.loc[1.0]
        # Full precision is stored: nothing is lost on the way to the file.
        assert row["mean_difference"] == pytest.approx(difference.mean(), rel=1e-12)
        assert (row["p"], row["p_holm"], row["p_sign_flip"]) == (test.p, adjusted[arm], test.p_sign_flip)
        assert (row["ci_low"], row["ci_high"]) == (test.difference.low, test.difference.high)
        assert row["detectable_difference"] == detectable_difference(difference, family=2)
        assert row["wins"] == wins(runs.loc[arm], runs.loc[1.0], higher_is_better=False)
        assert row["n"] == 6
    assert rows.loc[0.01, "verdict"] == "worse"


def test_the_summary_says_the_verdict_and_its_reason(rates):
    summary = summary_of(rates[1]).set_index("arm")
    assert list(summary["verdict"]) == ["worse", "baseline", summary.loc[2.0, "verdict"]]
    assert summary.loc[0.01, "reason"].startswith("against 1.0: p ")
    row = summary.loc[0.01]
    runs = pd.read_csv(rates[0] / "out" / "runs.csv")
    interval = metric_interval("val_loss", runs.loc[runs["arm"] == 0.01, "val_loss"].to_numpy())
    assert (row["val_loss_mean"], row["val_loss_ci_low"]) == (interval.estimate, interval.low)


def test_what_is_answered_already_is_shown_without_training_or_its_rehearsal(rates, monkeypatch):
    folder, ended = rates
    written = {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir() if path.name != ".lock"}
    words = ("compare", *SMALL, "--vary", "lr=0.01,1,2", "--seeds", 6, "--baseline", "1.0", "--out", "out")
    monkeypatch.setattr("nnlab.experiments.carry_out._rehearsal", None)
    again = nnlab(*words, cwd=folder)
    assert again.out == ended.out
    assert "runs done" not in again.err
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_another_baseline_judges_the_same_runs_anew(rates, tmp_path_factory):
    folder, _ = rates
    words = ("compare", *SMALL, "--vary", "lr=0.01,1,2", "--seeds", 6, "--baseline", "0.01", "--out", "again")
    first = nnlab(*words[:-1], "again", cwd=folder)
    assert set(summary_of(first)["verdict"]) == {"baseline", "better"}
    other = nnlab(*words[:-4], "--baseline", "2.0", "--out", "again", cwd=folder)
    assert "runs done" not in other.err
    assert summary_of(other).set_index("arm").loc[2.0, "verdict"] == "baseline"


def test_more_levels_and_seeds_later_train_only_what_is_new(tmp_path):
    words = ("compare", *SMALL, "--out", "out")
    assert nnlab(*words, "--vary", "optimizer=sgd,adam", "--seeds", 2, cwd=tmp_path).code == 0
    before = pd.read_csv(tmp_path / "out" / "runs.csv")
    more = nnlab(*words, "--vary", "optimizer=sgd,adam,rmsprop", "--seeds", 3, cwd=tmp_path)
    assert more.code == 0, more.err
    assert "5 of 5 runs done" in more.err
    after = pd.read_csv(tmp_path / "out" / "runs.csv").set_index("run_id")
    assert len(after) == 9
    assert list(after.loc[before["run_id"], "val_loss"]) == list(before["val_loss"])


def test_one_seed_leaves_no_comparison_behind(tmp_path):
    words = ("compare", *SMALL, "--vary", "lr=0.1,1", "--out", "out")
    assert nnlab(*words, "--seeds", 2, cwd=tmp_path).code == 0
    assert (tmp_path / "out" / "comparisons.csv").exists()
    ended = nnlab(*words, "--seeds", "1,", cwd=tmp_path)
    assert "One seed: there are no intervals" in ended.err
    assert not (tmp_path / "out" / "comparisons.csv").exists()


def test_arms_of_one_seed_start_alike(rates):
    curves = pd.read_csv(rates[0] / "out" / "curves.csv")
    start = curves[curves["epoch"] == 0].pivot(index="arm", columns="seed", values="train_loss")
    assert (start.nunique() == 1).all()
    assert start.iloc[0].nunique() == 6


def test_losses_are_told_apart_by_what_no_loss_owns(losses):
    folder, ended = losses
    summary = summary_of(ended).set_index("arm")
    rows = pd.read_csv(folder / "out" / "comparisons.csv")
    assert not rows["metric"].str.endswith("loss").any()
    assert set(rows.loc[rows["verdict"].notna(), "metric"]) == {"val_accuracy"}
    assert "steps_to_threshold_median" not in summary
    assert np.isnan(summary.loc["hinge", "test_brier_mean"])
    assert summary.loc["bce", "test_brier_mean"] > 0
    about = summary[["task", "output", "link", "estimates", "torch_class"]].astype(object)
    assert list(about.loc["bce"]) == ["binary", "one", "sigmoid", "class probabilities", "BCEWithLogitsLoss"]
    assert list(about.loc["hinge"])[:4] == ["binary", "one", "margin", "margin"]


def test_losses_are_tuned_and_the_search_is_written(losses):
    folder, ended = losses
    summary = summary_of(ended).set_index("arm")
    tuning = pd.read_csv(folder / "out" / "tuning.csv")
    assert list(tuning.columns) == ["arm", "lr", "n", "n_lost", "val_accuracy_mean", "chosen"]
    assert len(tuning) == 2 * 3
    chosen = tuning[tuning["chosen"]].set_index("arm")
    assert (chosen["lr"] == summary["lr"]).all()
    best = tuning.groupby("arm")["val_accuracy_mean"].max()
    assert (chosen["val_accuracy_mean"] == best).all()
    assert set(pd.read_csv(folder / "out" / "runs.csv")["seed"]) == {0, 1, 2}
    assert "Rates tuned: 3 from 0.1 to 10.0, 2 seeds of their own, 12 runs, by mean val_accuracy." in ended.err


@pytest.mark.parametrize("columns", [80, 60])
def test_the_matrix_of_losses_and_metrics_is_shown_below_the_verdicts(losses, columns):
    folder, _ = losses
    shown = nnlab("show", "out", "--explain", cwd=folder, COLUMNS=str(columns)).out
    assert max(map(len, shown.splitlines())) <= columns
    first, matrix = shown.split("Every metric that no loss owns")
    assert "verdict: better or worse than the baseline by a paired t test" in " ".join(first.split())
    assert "lr: the learning rate; if rates were tuned" in " ".join(first.split())
    assert "balanced" in matrix
    assert "brier" in matrix
    row = next(line for line in matrix.splitlines() if line.startswith("hinge")).split()
    assert row.count("n/a") == 2  # Brier and calibration error
    assert "n/a: that loss's scores are not probabilities." in matrix


def test_show_grid_shows_every_arm_at_every_rate(losses):
    folder, _ = losses
    words = (*LOSSES, "--losses", "bce,hinge", "--seeds", 3, "--out", "out", "--show-grid", "--format", "table")
    grid = nnlab(*words, cwd=folder).out.partition("val_accuracy by arm and rate, mean over 2 tuning seeds\n")[2]
    head, _, *rows = grid.splitlines()
    assert head.split() == ["arm", "0.1", "1", "10"]
    tuning = pd.read_csv(folder / "out" / "tuning.csv")
    for arm, line in zip(("bce", "hinge"), rows, strict=False):
        name, *cells = line.split()
        of_arm = tuning[tuning["arm"] == arm]
        assert name == arm
        assert [cell.endswith("*") for cell in cells] == of_arm["chosen"].tolist()
        for cell, mean, lost in zip(cells, of_arm["val_accuracy_mean"], of_arm["n_lost"], strict=True):
            assert cell.startswith("lost") if lost else float(cell.rstrip("*")) == pytest.approx(mean, abs=5e-4)


def test_a_dry_run_counts_the_runs_that_tune(tmp_path, losses):
    ended = nnlab(*LOSSES, "--losses", "bce,hinge", "--seeds", 3, "--dry-run", cwd=tmp_path)
    plan = pd.read_csv(io.StringIO(ended.out)).set_index("setting")["value"]
    assert (plan["tuning runs"], plan["runs"], plan["runs to train"]) == ("12", "6", "18")
    folder, _ = losses
    ended = nnlab(*LOSSES, "--losses", "bce,hinge", "--seeds", 4, "--out", "out", "--dry-run", cwd=folder)
    plan = pd.read_csv(io.StringIO(ended.out)).set_index("setting")["value"]
    assert plan["runs to train"] == "2"  # of the new seed alone: the tuned rates are known


def test_noisy_labels_are_said_to_have_been_kept_from_the_choice(tmp_path):
    words = ("--losses", "bce,mse", "--seeds", 2, "--label-noise", 0.2)
    ended = nnlab(*LOSSES, *words, cwd=tmp_path)
    assert (
        "Training labels are noisy; the rates and the best were chosen, and all is reported, on clean ones."
        in ended.err
    )


@pytest.mark.parametrize(
    ("data", "metric", "losses"),
    [("iris", "val_accuracy", "cross_entropy,focal"), ("sine:samples=60", "val_rmse", "mse,l1")],
)
def test_losses_of_other_tasks_are_compared_by_their_metric(tmp_path, data, metric, losses):
    words = ("--data", data, "--losses", losses, "--tune-lr", "0.01,0.1", "--tuning-seeds", 1, "--seeds", 2)
    ended = nnlab("compare-loss", *words, "--model", "mlp:hidden=8", "--epochs", 1, cwd=tmp_path)
    assert f"by mean {metric}" in ended.err
    assert f"{metric}_mean" in summary_of(ended)


def test_a_loss_of_ones_own_is_tuned_and_compared(tmp_path):
    (tmp_path / "own.py").write_text(
        "def cubic(scores, targets):\n    return (scores[..., 0, :] - targets).abs() ** 3\n"
    )
    words = ("--data", "sine:samples=60", "--losses", "mse,own.py:cubic", "--tune-lr", "0.01,0.1", "--tuning-seeds", 1)
    ended = nnlab("compare-loss", *words, "--model", "mlp:hidden=8", "--epochs", 1, "--seeds", 3, cwd=tmp_path)
    summary = summary_of(ended)
    assert list(summary["arm"]) == ["mse", "own.py:cubic"]
    assert summary["test_rmse_mean"].notna().all()


def test_schedules_are_drawn_and_held_to_one_budget(tmp_path):
    words = ("compare-schedule", *SMALL, "--schedules", "none,cosine,reduce_on_plateau:patience=0", "--seeds", 2)
    ended = nnlab(*words, "--out", "out", "--epochs", 4, cwd=tmp_path)
    assert summary_of(ended)["verdict"].iloc[0] == "baseline"
    runs = pd.read_csv(tmp_path / "out" / "runs.csv")
    assert runs["steps"].nunique() == 1
    assert runs["lr"].nunique() == 1
    shown = nnlab("show", "out", "--format", "table", cwd=tmp_path, COLUMNS="100").out
    assert "▅▅▅▅▅" in shown  # none: level


def test_what_does_not_apply_to_a_loss_is_empty_in_every_file(losses):
    folder, _ = losses
    for name in ("runs.csv", "curves.csv", "summary.csv", "comparisons.csv"):
        texts = pd.read_csv(folder / "out" / name, dtype=str, keep_default_na=False)
        hinge = texts[texts["arm"] == "hinge"]
        assert len(hinge)
        cells = hinge.loc[:, [column for column in texts if "brier" in column or "ece" in column]].to_numpy().ravel()
        assert set(cells) <= {""}
        if name == "comparisons.csv":
            of_brier = hinge.loc[hinge["metric"] == "val_brier", ["mean_difference", "p", "wins", "n"]]
            assert of_brier.to_numpy().tolist() == [["", "", "0", "0"]]


def test_a_metric_of_probabilities_is_refused_where_an_arm_has_none(tmp_path):
    words = ("--losses", "bce,hinge,mse", "--metric", "val_ece")
    ended = nnlab("compare-loss", *SMALL, *words, cwd=tmp_path)
    assert ended.code == 2
    assert "--metric val_ece needs probabilities, but the loss of hinge, mse gives none." in ended.err
    assert list(tmp_path.iterdir()) == []


def test_crossed_factors_are_compared_arm_by_arm_and_each_has_its_column(tmp_path):
    crossed = ("--vary", "optimizer=sgd,adam", "--vary", "width=4,8", "--show-grid")
    ended = nnlab("compare", *SMALL, *crossed, "--seeds", 2, "--out", "out", cwd=tmp_path)
    summary = summary_of(ended)
    assert list(summary["arm"]) == [
        "optimizer=sgd width=4",
        "optimizer=sgd width=8",
        "optimizer=adam width=4",
        "optimizer=adam width=8",
    ]
    assert list(summary.columns[:4]) == ["arm", "optimizer", "width", "n"]
    shown = nnlab("show", "out", "--format", "table", cwd=tmp_path).out
    assert shown.splitlines()[0] == "moons:samples=100, mlp, 2 seeds, 2 epochs"  # neither width nor optimizer is held
    grid = summary.pivot(index="optimizer", columns="width", values="val_loss_mean")
    assert grid.loc["adam", 8] == summary["val_loss_mean"].iloc[3]


def test_crossed_factors_are_shown_as_a_grid(tmp_path):
    crossed = ("--vary", "optimizer=sgd,adam", "--vary", "width=4,8", "--show-grid", "--format", "table")
    shown = nnlab("compare", *SMALL, *crossed, "--seeds", 2, cwd=tmp_path).out
    grid = shown.partition("val_loss by optimizer and width\n")[2].splitlines()
    assert grid[0].split() == ["width", "width"]
    assert grid[1].split() == ["optimizer", "4", "8"]
    assert [line.split()[0] for line in grid[3:5]] == ["sgd", "adam"]


def test_the_baseline_of_crossed_factors_has_the_usual_level_of_each(tmp_path):
    crossed = ("--vary", "init=kaiming_normal,torch_default", "--vary", "batch_size=20,100", "--vary", "width=4,8")
    ended = nnlab("compare", *SMALL, *crossed, "--seeds", 2, cwd=tmp_path)
    summary = summary_of(ended)
    baseline = summary[summary["verdict"] == "baseline"]
    assert list(baseline["arm"]) == ["init=torch_default batch_size=100 width=4"]


def test_a_grid_of_one_factor_at_one_rate_is_refused(tmp_path):
    ended = nnlab("compare", *SMALL, "--vary", "optimizer=sgd,adam", "--show-grid", cwd=tmp_path)
    assert ended.code == 2
    assert "Give --tune-lr, or --vary a second time." in ended.err


def test_the_threshold_is_taken_from_the_epochs_that_early_stopping_keeps(tmp_path):
    words = ("--vary", "lr=3,30", "--seeds", 3, "--early-stop", 2, "--epochs", 12, "--out", "out")
    ended = nnlab("compare", "--data", "moons:samples=100", "--model", "mlp:hidden=8", *words, cwd=tmp_path)
    summary = summary_of(ended)
    best = str(summary.loc[summary["best"], "arm"].item())
    runs, curves = (pd.read_csv(tmp_path / "out" / name, dtype={"arm": str}) for name in ("runs.csv", "curves.csv"))
    of_best = curves[curves["arm"] == best]
    first = of_best.loc[of_best["epoch"] == 0, "val_loss"].mean()
    kept = runs.loc[runs["arm"] == best, "val_loss"].mean()
    assert kept < of_best.groupby("seed")["val_loss"].last().mean()  # some run went on past its best epoch
    facts = json.loads((tmp_path / "out" / "manifest.json").read_text())["facts"]
    assert facts["threshold_loss"] == pytest.approx((first + kept) / 2, rel=1e-12)


@pytest.mark.parametrize("form", ["json", "jsonl", "markdown", "table", "csv"])
def test_every_format_answers_from_the_files(losses, form):
    folder, _ = losses
    words = (*LOSSES, "--losses", "bce,hinge", "--seeds", 3, "--out", "out", "--format", form)
    shown = nnlab(*words, cwd=folder)
    assert shown.code == 0
    assert "hinge" in shown.out
    if form == "json":
        assert [row["loss"] for row in json.loads(shown.out)] == ["bce", "hinge"]
    assert ("no loss owns" in shown.out) == (form in ("markdown", "table"))


def test_an_experiment_file_says_the_same_as_flags(tmp_path):
    (tmp_path / "own.toml").write_text(
        'command = "compare"\n[settings]\ndata = "moons:samples=60"\nepochs = 1\nseeds = 2\n'
        'vary = ["optimizer=sgd,adam", "batch_size=10,20"]\n'
    )
    assert len(summary_of(nnlab("compare", "--config", "own.toml", cwd=tmp_path))) == 4


def test_a_refused_arm_leaves_nothing_behind(tmp_path):
    ended = nnlab("compare-loss", *SMALL, "--losses", "bce,l1,poisson_nll", cwd=tmp_path)
    assert ended.code == 2
    assert "serves regression tasks, not binary. Losses that do:" in ended.err
    ended = nnlab("compare", *SMALL, "--vary", "optimizer=sgd,adam:betas=2x0.9", cwd=tmp_path)
    assert ended.code == 2
    assert list(tmp_path.iterdir()) == []


def test_where_every_run_of_both_arms_diverges_there_is_no_difference_and_no_warning(tmp_path):
    ended = nnlab("compare", *SMALL, "--vary", "lr=1e20,1e25", "--seeds", 2, "--out", "out", cwd=tmp_path)
    assert ended.code == 0, ended.err
    rows = pd.read_csv(tmp_path / "out" / "comparisons.csv")
    assert rows["mean_difference"].isna().all()
    assert list(rows.loc[rows["metric"] == "val_loss", "verdict"]) == ["not separated"]
