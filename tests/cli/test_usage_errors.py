"""Mistakes of a user: one or two lines, the right exit code, no traceback, and nothing trained or written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from commands import PLAIN, nnlab

MOONS = ("--data", "moons:samples=100", "--seeds", 2, "--lr", "0.1,1", "--epochs", 1)

# The words, and what must be said. The settings and the plan show these mistakes, without torch.
AT_ONCE = [
    ("--sedes 3", "No such option: --sedes"),
    ("--learning-rate 0.1", "No such option: --learning-rate. Did you mean --lr?"),
    ("--momentum 0.9", "No such option: --momentum. Did you mean --optimizer sgd:momentum=0.9?"),
    ("--quiet --verbose", "--quiet leaves out what --verbose adds. Give one of them."),
    ("extra", "unexpected extra argument"),
    ("--data monos", "--data 'monos' is not known. Did you mean 'moons'?"),
    ("--data moons:smaples=3", "--data moons has no key 'smaples'. Did you mean 'samples'?"),
    ("--data moons:samples=many", "--data moons:samples takes a whole number such as 10, not 'many'."),
    ("--data table.txt", "--data 'table.txt' is not known. Files end in .csv, .parquet, .npz"),
    ("--init nromal", "--init 'nromal' is not known. Did you mean 'normal'?"),
    ("--init kaiming_nromal", "Did you mean 'kaiming_normal'?"),
    ("--lr inf", "--lr takes a plain decimal number"),
    ("--lr nan", "--lr takes a plain decimal number"),
    ("--lr 0", "--lr takes rates above 0, not '0'"),
    ("--lr -1", "--lr takes rates above 0, not '-1'"),
    ("--lr 1:2:1000000000", "COUNT is a whole number from 2 to 100000, not 1000000000."),
    ("--lr 2:1:4", "START 2.0 must be below STOP 1.0."),
    ("--lr 0.1,,1", "has an empty part"),
    ("--seeds -1", "--seeds takes a whole number of 0 or more, not '-1'."),
    ("--seeds 0", "--seeds takes a count from 1 to 100000 or a list"),
    ("--seeds 1,1", "--seeds '1,1' names '1' twice."),
    ("--batch-size 0", "--batch-size takes a whole number of 1 or more, or full, not '0'."),
    ("--epochs 1_0", "--epochs takes a whole number such as 10, not '1_0'."),
    ("--validation 1", "--validation takes a number from 0 to below 1, not '1'."),
    ("--threads 0", "--threads takes a whole number of 1 or more, not '0'."),
    ("--dtype float16", "--dtype"),
    ("--name a/b", "--name takes the name of a directory, not 'a/b'. A path goes to --out."),
    ("--model mlp:activation=tanh --activation relu", "--model mlp:activation=tanh and --activation relu contradict"),
    (
        "--weight-decay 0.1 --optimizer sgd:weight_decay=0.2",
        "weight_decay=0.2 and --weight-decay 0.1 contradict each other.",
    ),
    ("--optimizer sgd:nesterov=true", "nesterov needs a momentum above 0 and no dampening"),
    ("--optimizer adam:beta1=0.9", "--optimizer adam has no key 'beta1'. Did you mean 'betas'?"),
    ("--schedule step:step_size=0", "--schedule step:step_size takes a whole number of 1 or more, not '0'."),
    ("--schedule lambda:lr_lambda=none.py:f", "none.py can't be read: No such file or directory."),
    ("--metric test_loss", "would select by the test part, which is only for the report. Say val_loss."),
    ("--metric nonsense", "--metric 'nonsense' is not known. Accepted: batch_loss, train_loss, val_accuracy"),
    ("--metric val_rmse", "--metric 'val_rmse' is not known."),
    ("--loss hinge --metric val_brier", "--metric val_brier needs probabilities, but --loss hinge gives none."),
    ("--model autoencoder --task binary", "reconstructs the features of a row. Say --task reconstruction or auto."),
    ("--split columns", "--split 'columns' is not known. Accepted: random, stratified"),
    ("--target y", "--target 'y' names a column of a .csv or .parquet file"),
    (
        "--early-stop 2 --validation 0",
        "--early-stop needs the validation loss, but --validation 0 leaves no validation part.",
    ),
    ("--data digits --loss bce", "--loss bce serves binary tasks, not multiclass. Losses that do: mse, "),
    ("--data diabetes --class-weights balanced", "--class-weights balanced is for classes; the task is regression."),
    ("--task regression", "--task regression does not go with --data moons:samples=100"),
]

# Mistakes that the data show, when they are split and altered.
FROM_THE_DATA = [
    ("--model autoencoder --label-noise 0.1", "--label-noise 0.1 is for classes; the task is reconstruction."),
    ("--model autoencoder --split stratified", "is for classes; the task is reconstruction. Say --split random."),
    ("--outliers 0.1:scale=3 --test 0.999 --validation 0.1", "leave no training row"),
    ("--data diabetes --label-noise 0.1", "--label-noise 0.1 is for classes; the task is regression."),
]

# Mistakes that only the first call of an ingredient, or the machine, shows.
AT_THE_FIRST_CALL = [
    ("--model mlp:hidden=10:width=3", "--model mlp takes hidden= or width= and depth=, not both."),
    ("--model mlp:norm=x", "--model mlp:norm takes layer or batch, not 'x'."),
    ("--activation gelu:approximate=x", "--activation gelu:approximate takes none or tanh, not 'x'."),
    ("--init kaiming_normal:mode=x", "The mode of kaiming in --init is fan_in or fan_out, not 'x'."),
    ("--init uniform:a=1:b=0", "--init uniform needs a below b"),
    ("--data diabetes --loss quantile:q=0", "--loss quantile:q takes a number above 0 and below 1, not 0.0"),
    ("--schedule lambda:lr_lambda=1/0", "'1/0' has no finite value at epoch 0: float division by zero."),
    ("--epochs 9 --schedule lambda:lr_lambda=1/(5-epoch)", "has no finite value at epoch 5"),
    ("--device cuda:7", "--device 'cuda:7' is not there. This machine has: cpu"),
    ("--device tpu", "--device 'tpu' is not there. This machine has: cpu"),
]


@pytest.mark.parametrize(
    ("words", "said"), [*AT_ONCE, *FROM_THE_DATA, *AT_THE_FIRST_CALL], ids=lambda text: text.split(":")[0]
)
def test_what_cannot_be_meant_is_refused_in_a_line_before_anything_is_written(tmp_path, words, said):
    ended = nnlab("sweep-lr", *MOONS, *words.split(), cwd=tmp_path)
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert said in ended.err
    assert len(ended.err.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


def test_what_is_refused_does_not_spoil_the_results_that_are_there(tmp_path):
    assert nnlab("sweep-lr", *MOONS, "--out", "out", cwd=tmp_path).code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    ended = nnlab("sweep-lr", *MOONS, "--out", "out", "--fresh", "--activation", "gelu:approximate=x", cwd=tmp_path)
    assert ended.code == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data none.csv --target y", "none.csv does not exist."),
        ("--data table.csv", "which column is to be predicted? Say --target COLUMN. Its columns: 'a', 'kind'."),
        ("--data table.csv --target kidn", "--target 'kidn' is not a column of table.csv. Did you mean 'kind'?"),
        ("--data moons:samples=2", "is less than one row"),
        ("--data holes.csv --target kind", "holes.csv, line 3, column 'a': missing"),
    ],
)
def test_data_that_cannot_be_used_is_exit_code_3(tmp_path, words, said):
    (tmp_path / "table.csv").write_text("a,kind\n" + "1,x\n2,y\n" * 20)
    (tmp_path / "holes.csv").write_text("a,kind\n" + "1,x\n,y\n" * 20)
    ended = nnlab("sweep-lr", *MOONS, *words.split(), cwd=tmp_path)
    assert ended.code == 3
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "results").exists()


def test_mean_squared_error_is_allowed_on_classes(tmp_path):
    words = ("--data", "digits", "--loss", "mse", "--seeds", 2, "--lr", "0.1", "--epochs", 1, "--model", "linear")
    assert nnlab("sweep-lr", *words, cwd=tmp_path).code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sweep", "No such command 'sweep'. Did you mean 'sweep-lr'?"),
        ("train --lr 0.1,0.2", "--lr takes a plain decimal number"),
        ("predict", "Missing argument 'DIR'."),
    ],
)
def test_other_commands_are_refused_alike(tmp_path, words, said):
    ended = nnlab(*words.split(), cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err


def test_to_show_results_there_must_be_some(tmp_path):
    ended = nnlab("show", cwd=tmp_path)
    assert ended.code == 3
    assert "There are no results under results/ here." in ended.err


@pytest.fixture(scope="module")
def said_without_torch(tmp_path_factory):
    """Words -> exit code and stderr of the command, in a process in which torch can't be imported."""
    lines = [words for words, _ in AT_ONCE]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, json.dumps(["nnlab", "sweep-lr", *map(str, MOONS)]), *lines],
        cwd=tmp_path_factory.mktemp("empty"),
        env=PLAIN,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(lines, map(json.loads, done.stdout.splitlines()), strict=True))


# Not sys.modules["torch"] = None: SciPy looks for torch's classes there.
WITHOUT_TORCH = """
import contextlib, io, json, sys

class NoTorch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise ImportError("this needs torch")

sys.meta_path.insert(0, NoTorch)
from nnlab.cli.app import main

_, start, *lines = sys.argv
for line in lines:
    with contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            sys.argv = [*json.loads(start), *line.split()]
            main()
        except SystemExit as end:
            code = end.code
        except ImportError as reason:
            code = str(reason)
    print(json.dumps([code, err.getvalue()]))
"""


@pytest.mark.parametrize(("words", "said"), AT_ONCE, ids=lambda text: text.split(":")[0])
def test_what_the_settings_show_is_said_without_torch(said_without_torch, words, said):
    code, err = said_without_torch[words]
    assert code == 2
    assert said in err


def test_showing_what_is_not_there_says_so(tmp_path):
    ended = nnlab("show", "none.csv", cwd=tmp_path)
    assert ended.code == 3
    assert ended.err == "error: There is no 'none.csv' here: neither a results directory nor a CSV file.\n"
