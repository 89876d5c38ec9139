"""The same command again, and commands a little different: what is trained, what is not, and what is refused."""

from __future__ import annotations

import re
import shutil
import sys

import pandas as pd
import pytest
from commands import in_shell, nnlab

from nnlab.storage.locks import hold_directory

BASE = ("sweep-lr", "--data", "moons:samples=100", "--model", "mlp:hidden=8", "--epochs", 2, "--out", "out")
TWO = (*BASE, "--lr", "0.1,1", "--seeds", 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with one finished sweep in `out`, and what its command said."""
    folder = tmp_path_factory.mktemp("finished")
    ended = nnlab(*TWO, cwd=folder)
    assert ended.code == 0, ended.err
    return folder, ended


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it, to be changed."""
    shutil.copytree(finished[0] / "out", tmp_path / "out")
    return tmp_path


def files(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def rows(folder) -> dict[str, str]:
    """Each run's row of runs.csv, without the steps to a threshold that depends on who else is there."""
    runs = pd.read_csv(folder / "out" / "runs.csv", dtype=str).drop(columns="steps_to_threshold")
    return {row["run_id"]: row.to_json() for _, row in runs.iterrows()}


def test_the_same_command_again_shows_the_same_and_touches_nothing(finished):
    folder, first = finished
    before, times = files(folder), {path: path.stat().st_mtime_ns for path in (folder / "out").iterdir()}
    again = nnlab(*TWO, cwd=folder)
    assert (again.code, again.out) == (0, first.out)
    assert "runs done" not in again.err
    assert files(folder) == before
    del times[folder / "out" / ".lock"]  # held, and let go
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_what_is_known_already_is_shown_without_loading_torch(finished):
    folder, first = finished
    code = f"""
import sys
sys.argv = {["nnlab", *map(str, TWO)]!r}
from nnlab.cli.app import main
try:
    main()
finally:
    print({{"torch", "matplotlib"}} & set(sys.modules), file=sys.stderr)
"""
    shown = in_shell(f"{sys.executable} - <<'END'\n{code}\nEND", cwd=folder)
    assert shown.out == first.out
    assert shown.err.endswith("set()\n")


@pytest.mark.parametrize(
    ("more", "num_new"),
    [
        (("--lr", "0.1,1", "--seeds", 4), 4),
        (("--lr", "0.1,0.3,1", "--seeds", 2), 2),
        (("--lr", "0.1", "--seeds", 2), 0),
    ],
    ids=["more seeds", "more rates", "fewer rates"],
)
def test_more_seeds_or_rates_train_only_what_is_missing(folder, more, num_new):
    before, lines = rows(folder), (folder / "out" / "journal.jsonl").read_bytes()
    ended = nnlab(*BASE, *more, cwd=folder)
    assert ended.code == 0, ended.err
    assert (f"{num_new} of {num_new} runs done" in ended.err) == (num_new > 0)
    after = rows(folder)
    assert {run_id: row for run_id, row in after.items() if run_id in before}.items() <= before.items()
    assert len(set(after) - set(before)) == num_new
    assert (folder / "out" / "journal.jsonl").read_bytes().startswith(lines)


def test_the_best_so_far_counts_what_was_trained_before(folder):
    ended = nnlab(*BASE, "--lr", "0.01,0.1,1", "--seeds", 2, cwd=folder)
    assert "2 of 2 runs done, best so far lr 1 (val_loss" in ended.err


@pytest.mark.parametrize(
    ("judging", "column"), [(("--metric", "val_accuracy"), "best"), (("--threshold-loss", 0.6), "n_reached")]
)
def test_another_metric_or_threshold_judges_again_without_training(folder, judging, column):
    before, lines = rows(folder), (folder / "out" / "journal.jsonl").read_bytes()
    ended = nnlab(*TWO, *judging, cwd=folder)
    assert ended.code == 0, ended.err
    assert "runs done" not in ended.err
    assert (folder / "out" / "journal.jsonl").read_bytes() == lines
    assert rows(folder) == before
    assert column in ended.out
    manifest = (folder / "out" / "manifest.json").read_text()
    assert str(judging[1]) in manifest
    # And back again: the first answer.
    assert nnlab(*TWO, cwd=folder).out == nnlab("show", "out", "--format", "csv", cwd=folder).out


def test_other_settings_are_refused_with_the_difference(folder):
    before = files(folder)
    ended = nnlab(*TWO, "--epochs", 3, "--init", "kaiming_normal", cwd=folder)
    assert ended.code == 5
    assert "error: out holds another experiment: --epochs 2 there, --epochs 3 now; --init " in ended.err
    assert "Give another --out or --name, or --fresh to set the old results aside." in ended.err
    assert files(folder) == before


def test_fresh_sets_the_old_results_aside(folder):
    before = files(folder)
    ended = nnlab(*TWO, "--epochs", 1, "--fresh", cwd=folder)
    assert ended.code == 0, ended.err
    assert "The old results are in " in ended.err
    assert {path.name: path.read_bytes() for path in (folder / "out.old-1").iterdir()} == before
    assert set(pd.read_csv(folder / "out" / "runs.csv")["epochs"]) == {1}


def test_a_directory_in_use_is_refused_before_anything_is_rehearsed(folder, monkeypatch):
    with hold_directory(folder / "out"):
        monkeypatch.setattr("nnlab.experiments.carry_out._rehearsal", None)
        ended = nnlab(*TWO, "--seeds", 5, cwd=folder)
        assert ended.code == 5
        assert ended.err.startswith("error: out is in use by another nnlab.")


def test_a_torn_last_line_is_trained_again(folder):
    before, journal = files(folder), folder / "out" / "journal.jsonl"
    journal.write_bytes(before["journal.jsonl"][:-100])
    ended = nnlab(*TWO, cwd=folder)
    assert "1 of 1 run done" in ended.err
    after = files(folder)
    for name in ("journal.jsonl", "runs.csv", "curves.csv", "summary.csv"):
        assert after[name] == before[name]


def test_a_line_that_is_no_run_is_an_error_with_its_number(folder):
    journal = folder / "out" / "journal.jsonl"
    journal.write_text("{}\n" + journal.read_text())
    ended = nnlab(*TWO, cwd=folder)
    assert ended.code == 3
    assert "journal.jsonl, line 1, is not the record of a run" in ended.err


def test_a_command_stopped_after_its_last_run_still_measures_and_judges_all(folder):
    before = files(folder)
    (folder / "out" / "manifest.json").unlink()
    (folder / "out" / "summary.csv").unlink()
    ended = nnlab(*TWO, cwd=folder)
    assert "runs done" not in ended.err
    assert "At the start (seed 0) the largest curvature is" in ended.err
    assert files(folder)["summary.csv"] == before["summary.csv"]


@pytest.mark.parametrize("out", [".", "", "file", "file/x"])
def test_a_place_that_is_not_ours_is_refused(tmp_path, out):
    (tmp_path / "file").write_text("mine")
    ended = nnlab(*TWO[:-6], "--out", out, "--lr", "0.1", "--seeds", 1, cwd=tmp_path)
    assert ended.code in (2, 5)
    assert "Give another --out or --name." in ended.err
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_of_someone_elses_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_text("mine")
    ended = nnlab(*TWO, "--fresh", cwd=tmp_path)
    assert ended.code == 5
    assert "out is not empty and holds no results of nnlab." in ended.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.jpg"]


def test_results_of_a_command_that_this_nnlab_does_not_have_are_shown(folder):
    manifest = folder / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"command": "sweep-lr"', '"command": "sweep-later"'))
    shown = nnlab("show", "out", cwd=folder)
    assert shown.code == 0, shown.err
    assert "Best: lr" in shown.out or "No best arm" in shown.out


def test_what_is_written_names_options_as_they_were_typed_and_holds_no_mark(folder):
    written = (folder / "out" / "manifest.json").read_text() + (folder / "out" / "journal.jsonl").read_text()
    assert not re.search(r"\\u27e8|⟨", written)
