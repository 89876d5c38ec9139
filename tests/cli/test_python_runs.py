"""`nnlab.run`: what a script asks is what the command line asks, and what it gets is the same to the last byte."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pytest
import torch
from commands import nnlab as command

import nnlab
from nnlab.commands import EXPERIMENTS
from nnlab.commands.sweep_lr import SweepLrSettings
from nnlab.commands.train import TrainSettings
from nnlab.core.errors import DataError, RefusedError, UsageError
from nnlab.core.spelling import flag

SMALL: Final[dict[str, Any]] = {
    "data": "moons:samples=100",
    "model": "mlp:hidden=8",
    "epochs": 2,
    "seeds": 2,
    "dtype": "float64",
}
# Of every command: options as Python has them, and the same as they are typed.
ASKED: Final[dict[str, tuple[dict[str, Any], list[str]]]] = {
    "train": ({"lr": 0.3, "shuffle": False}, ["--lr", "0.3", "--no-shuffle"]),
    "sweep-lr": ({"lr": [1, np.float64(0.1)], "batch_size": "full"}, ["--lr", "0.1,1", "--batch-size", "full"]),
    "compare": ({"vary": "optimizer=sgd,adam", "tune_lr": (0.01, 0.1)}, ["--vary", "optimizer=sgd,adam", "--tune-lr", "0.01,0.1"]),
    "compare-init": ({"inits": ["zeros", "normal:std=0.5"], "threads": 1}, ["--inits", "zeros,normal:std=0.5", "--threads", "1"]),
    "compare-loss": ({"losses": ["bce", "hinge"], "tune_lr": "0.1,1"}, ["--losses", "bce,hinge", "--tune-lr", "0.1,1"]),
    "compare-schedule": ({"schedules": "none,cosine", "metric": None}, ["--schedules", "none,cosine"]),
}  # fmt: skip
WORDS: Final = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own, and nothing of nnlab in the environment."""
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("NNLAB_")]:
        monkeypatch.delenv(variable)
    return tmp_path


def tables(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.glob("*.csv"))}


def test_every_study_has_an_example_here():
    assert set(ASKED) == set(EXPERIMENTS)


@pytest.mark.parametrize("engine", ["native", "loop"])
def test_a_notebooks_own_draws_do_not_hang_on_what_was_run_between_them(engine):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    nnlab.run("sweep-lr", **SMALL, lr=[0.1, 1.0], engine=engine)
    assert torch.equal(torch.rand(4), wanted)


@pytest.mark.parametrize("name", ASKED)
def test_python_and_the_command_line_write_the_same_bytes_in_the_same_place(name, tmp_path, capfd):
    options, words = ASKED[name]
    there = tmp_path / "there"
    there.mkdir()
    ended = command(name, *WORDS, *words, cwd=there)
    assert ended.code == 0, ended.err
    results = nnlab.run(name, **SMALL, **options)
    assert capfd.readouterr() == ("", "")
    assert not results.path.is_absolute()
    assert tables(results.path) == tables(there / results.path)
    assert {"runs.csv", "curves.csv", "summary.csv"} <= set(tables(results.path))


def test_the_answer_is_at_hand():
    results = nnlab.run("sweep-lr", **SMALL, lr=[0.01, 0.1, 1.0], out="out")
    assert results.path == Path("out")
    assert list(results.summary["arm"]) == ["0.01", "0.1", "1.0"]
    assert results.best == results.summary.loc[results.summary["best"], "arm"].item() == "1.0"
    assert len(results.runs) == 6
    assert len(results.curves) == 6 * 3
    assert results.comparisons is results.layers is results.tuning is None
    assert results.notes[0].startswith("Not bracketed: extend the grid to lr='")
    assert set(results.facts) >= {"sharpness", "threshold_loss"}
    assert results.manifest.settings["epochs"].origin == "python"
    assert results.manifest.settings["batch_size"].origin == "default"
    assert repr(results) == "<sweep-lr: 3 arms, 6 runs, best 1.0; out>"
    pd.testing.assert_frame_equal(nnlab.Results.read("out").summary, results.summary)


def test_other_tables_are_there_where_there_is_something_to_say():
    results = nnlab.run("compare-init", **SMALL, inits="zeros,torch_default", tune_lr=[0.1, 1])
    assert results.comparisons is not None
    assert results.tuning is not None
    assert results.layers is not None
    assert set(results.layers["arm"]) == {"zeros", "torch_default"}


def test_the_manifest_has_the_command_line_that_asks_the_same(tmp_path):
    results = nnlab.run(
        "compare",
        **SMALL,
        vary=("lr=0.1,1", "init=zeros,normal:std=0.5"),
        shuffle=False,
        standardize=True,
        out=Path("out"),
    )
    program, *words = results.manifest.argv
    assert program == "nnlab"
    assert words[-8:] == [
        "--vary",
        "lr=0.1,1",
        "--vary",
        "init=zeros,normal:std=0.5",
        "--no-shuffle",
        "--standardize",
        "--out",
        "out",
    ]
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    ended = command(*words, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "runs done" not in ended.err
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before  # it was answered already


def test_either_goes_on_where_the_other_ended(tmp_path):
    nnlab.run("sweep-lr", **SMALL, lr=[0.1, 1], out="out")
    lines = (tmp_path / "out" / "journal.jsonl").read_bytes()
    assert (
        "2 of 2 runs done"
        in command("sweep-lr", *WORDS, "--lr", "0.1,1", "--seeds", 3, "--out", "out", cwd=tmp_path).err
    )
    results = nnlab.run("sweep-lr", **SMALL | {"seeds": range(4)}, lr=[0.1, 1], out="out")
    assert len(results.runs) == 8
    assert (tmp_path / "out" / "journal.jsonl").read_bytes().startswith(lines)
    assert (tmp_path / "out" / "journal.jsonl").read_bytes().count(b"\n") == 8


def test_settings_may_come_as_an_object_and_be_overruled():
    settings = SweepLrSettings.from_values({**SMALL, "lr": [0.1, 1.0]})
    results = nnlab.run("sweep-lr", settings, seeds=1, out="out")
    assert results.manifest.settings["seeds"].value == [0]
    assert results.manifest.settings["lr"].value == [0.1, 1.0]
    assert results.manifest.settings["init"].origin == "default"
    with pytest.raises(UsageError, match=r"nnlab.run\('sweep-lr'\) takes SweepLrSettings, not TrainSettings."):
        nnlab.run("sweep-lr", TrainSettings.from_values({}))


def test_options_are_over_the_environment_and_that_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "file.toml").write_text("[settings]\nepochs = 1\nlr = [0.1, 1.0]\nseeds = 1\nquiet = true\n")
    monkeypatch.setenv("NNLAB_EPOCHS", "2")
    monkeypatch.setenv("NNLAB_SEEDS", "3")
    monkeypatch.setenv("NNLAB_VERBOSE", "false")
    small = {name: SMALL[name] for name in ("data", "model")}
    settings = nnlab.run("sweep-lr", **small, seeds=2, config="file.toml").manifest.settings
    assert {name: settings[name].origin for name in ("lr", "epochs", "seeds", "init")} == {
        "lr": "file",
        "epochs": "environment",
        "seeds": "python",
        "init": "default",
    }
    monkeypatch.setenv("NNLAB_EPOCHS", "abc")
    with pytest.raises(UsageError, match=r"not 'abc'\.\nepochs= comes from NNLAB_EPOCHS in the environment\."):
        nnlab.run("sweep-lr", **small)


def without_spelling(message: str) -> str:
    """A message without what differs between front ends: dashes, equals signs, and quotes around values."""
    named = re.sub(r"--([a-z][a-z-]*)", lambda option: option[1].replace("-", "_"), message)
    plain = re.sub(r"\b(\w+)= ?", r"\1 ", named).replace("'", "").replace('"', "")
    return re.sub(r" +", " ", re.sub(r" (?=[:,.])", "", plain)).strip()


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"data": "monos"}, UsageError),
        ({"validation": 0, "early_stop": 3}, UsageError),
        ({"init": "kaiming_nromal"}, UsageError),
        ({"lr": [0.1, 0.1]}, UsageError),
        ({"lr": float("nan")}, UsageError),
        ({"epochs": 1.5}, UsageError),
        ({"seeds": 0}, UsageError),
        ({"dtype": "float16"}, UsageError),
        ({"name": "a/b"}, UsageError),
        ({"metric": "test_loss"}, UsageError),
        ({"device": "cuda:7"}, UsageError),
        ({"init": "uniform:a=1:b=0"}, UsageError),
        ({"data": "table.csv"}, DataError),
    ],
    ids=str,
)
def test_the_same_mistake_is_told_in_the_same_words_each_front_end_with_its_own_spelling(options, kind, tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n,3\n")
    asked = {**SMALL, "lr": 0.1} | options
    text = {name: ",".join(map(str, value)) if isinstance(value, list) else str(value) for name, value in asked.items()}
    ended = command("train", *[word for name, value in text.items() for word in (flag(name), value)], cwd=tmp_path)
    with pytest.raises(kind) as wrong:
        nnlab.run("train", **asked)
    assert "--" not in str(wrong.value)
    assert without_spelling(ended.err) == f"error: {without_spelling(str(wrong.value))}"
    assert ended.code == kind.exit_code
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("sweep_lr", {}, "nnlab.run 'sweep_lr' is not known. Did you mean 'sweep-lr'?"),
        ("gradcheck", {}, "`nnlab.testing.assert_gradients` checks gradients."),
        ("train", {"learning_rate": 0.1}, "'learning_rate' is not an option of train. Did you mean 'lr'? Accepted: data, "),
        ("train", {"epoch": 1}, "Did you mean 'epochs'?"),
        ("train", {"dropout": 0.1}, "Did you mean 'model=mlp:dropout=0.1'?"),
        ("train", {"format": "json"}, "'format' is not an option of train."),
    ],
)  # fmt: skip
def test_a_name_that_there_is_not_is_refused_with_the_nearest(name, options, said, tmp_path):
    with pytest.raises(UsageError) as wrong:
        nnlab.run(name, **options)
    assert said in str(wrong.value)
    assert list(tmp_path.iterdir()) == []


def test_another_experiments_directory_is_refused_and_fresh_sets_it_aside(tmp_path):
    nnlab.run("train", **SMALL, out="out")
    with pytest.raises(RefusedError, match=r"out holds another experiment: epochs=2 there, epochs=3 now\."):
        nnlab.run("train", **SMALL | {"epochs": 3}, out="out")
    assert set(nnlab.run("train", **SMALL | {"epochs": 3}, out="out", fresh=True).runs["epochs"]) == {3}
    assert set(nnlab.Results.read("out.old-1").runs["epochs"]) == {2}


def test_a_folder_without_results_has_none(tmp_path):
    with pytest.raises(DataError, match="holds no finished results"):
        nnlab.Results.read(tmp_path)


def test_the_pages_examples_run(capfd):
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    exec("\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)), {})
    printed, shown = capfd.readouterr().out, "".join(re.findall(r"^```text\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    # Not the numbers, nor a verdict that depends on them: another processor rounds differently.
    assert [len(line.split()) > 0 for line in printed.splitlines()] == [True] * len(shown.splitlines())


def test_importing_nnlab_is_light_and_what_it_has_not_it_has_not():
    code = "import sys, nnlab; print({'torch', 'pandas', 'numpy', 'pydantic', 'typer'} & set(sys.modules), dir(nnlab.run)[0])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("set() ")
    with pytest.raises(AttributeError, match="module 'nnlab' has no attribute 'fun'"):
        nnlab.fun  # noqa: B018
