"""`nnlab gradcheck` as a person runs it: what is right is said in few lines, what is wrong is named, and 1 is the end of it."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from commands import Ended, nnlab

from nnlab.catalog.inits import INITS
from nnlab.commands.gradcheck import _SETTINGS_OF, GradcheckSettings

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "wrong_layer.py"
COLUMNS = "subject,check,parameter,shape,entries,max_abs_error,max_rel_error,tolerance,worst_index,analytic,numeric,verdict,cause"
OWN = """
import torch
from torch import nn

def logs(x, y):
    return (torch.log(x) * y).sum()

def square(z):
    return (z * z.conj()).real.sum()

def breaks(x):
    return x @ x.T @ x[0, 0, 0]

def cubic(scores, targets):
    return (scores[0] - targets).abs() ** 3

def tukey(scores, targets, *, c: "Positive" = 4.685):
    away = ((scores[..., 0, :] - targets) / c).square().clamp(max=1.0)
    return c**2 / 6 * (1 - (1 - away) ** 3)

class WrongSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, errors):
        ctx.save_for_backward(errors)
        return errors.square()

    @staticmethod
    def backward(ctx, out):
        return out * ctx.saved_tensors[0]

def half_the_slope(scores, targets):
    return WrongSquare.apply(scores[..., 0, :] - targets)

def noisy():
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))

class Sized(nn.Module):
    def __init__(self, size):
        super().__init__()

number = 3
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path


def rows(ended: Ended) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(ended.out), keep_default_na=False).set_index("parameter")


def test_the_whole_catalogue_is_right_and_that_is_said_in_a_few_lines(tmp_path):
    done = nnlab("gradcheck", "--format", "table", "--out", "found", cwd=tmp_path)
    assert done.code == 0, done.out
    assert len(done.out.splitlines()) < 30
    assert "Every gradient is right" in done.out
    assert "At a kink: activation relu" in done.out
    assert (tmp_path / "found" / "gradcheck.csv").read_text().startswith(COLUMNS + "\n")
    found = pd.read_csv(tmp_path / "found" / "gradcheck.csv", keep_default_na=False)
    assert set(found["verdict"]) == {"ok", "kink"}
    right = found[found["verdict"] == "ok"]
    assert (right["max_rel_error"].astype(float) <= right["tolerance"]).all()
    assert {name.partition(" ")[0] for name in found["subject"]} == {"activation", "loss", "link", "layer", "model"}
    starts = {name.partition(" from ")[2] for name in found["subject"] if name.startswith("model")}
    assert starts == set(INITS)


def test_three_bugs_of_one_layer_are_found_placed_and_named(tmp_path):
    done = nnlab("gradcheck", "--module", f"{EXAMPLE}:WrongLayer", "--input", "5x3", cwd=tmp_path)
    assert done.code == 1
    found = rows(done)
    assert list(found["verdict"]) == ["wrong"] * 3
    assert found.loc["linear.weight", "cause"].endswith("indices [4] are left out")
    assert found.loc["linear.bias", "cause"].startswith("factor 1/5")
    assert found.loc["x", "cause"] == "sign flipped"
    assert found.loc["x", "analytic"] == pytest.approx(-found.loc["x", "numeric"], rel=1e-9)
    assert found.loc["x", "worst_index"].count(",") == 1


def test_a_pipe_gets_the_file_and_the_manifest_says_what_was_checked(tmp_path):
    done = nnlab("gradcheck", "--model", "mlp:hidden=4", "--data", "iris", "--name", "mine", cwd=tmp_path)
    place = tmp_path / "results" / "gradcheck" / "mine"
    assert done.out == (place / "gradcheck.csv").read_text()
    manifest = json.loads((place / "manifest.json").read_text())
    assert manifest["command"] == "gradcheck"
    assert manifest["settings"]["model"] == {"value": "mlp:hidden=4", "origin": "flag"}
    assert manifest["facts"] == {"ok": 5, "kink": 0, "wrong": 0}
    assert manifest["data_hash"]
    again = nnlab("show", "results/gradcheck/mine", "--format", "csv", cwd=tmp_path)
    assert again.out == done.out
    other = nnlab("gradcheck", "--model", "mlp:hidden=5", "--data", "iris", "--name", "mine", cwd=tmp_path)
    assert (other.code, "holds another experiment" in other.err) == (5, True)


def test_a_build_server_gets_a_case_for_each_tensor_and_a_failure_for_each_wrong_one(tmp_path):
    words = ("gradcheck", "--function", f"{EXAMPLE}:WrongLinear", "--input", "5x3,2x3,2", "--format", "junit")
    done = nnlab(*words, cwd=tmp_path)
    assert done.code == 1
    suites = ElementTree.fromstring(done.out)
    assert (suites.get("tests"), suites.get("failures")) == ("3", "3")
    assert [case.get("name") for case in suites.iter("testcase")] == ["reverse x", "reverse weight", "reverse bias"]
    assert "sign flipped" in next(suites.iter("failure")).get("message", "")


def test_a_sample_of_the_whole_catalogue_is_right_too(tmp_path):
    done = nnlab("gradcheck", "--sample", 2, "--directions", 3, cwd=tmp_path)
    assert done.code == 0, done.out
    found = rows(done)
    # Entries that a sample of a larger tensor leaves out are checked along directions.
    assert found.groupby("check")["entries"].max().to_dict() == {"directions": 3, "reverse": 2}
    assert set(found["verdict"]) == {"ok", "kink"}


def test_a_cause_that_names_a_setting_spells_it_as_a_flag(own):
    # At the point where it is first called, the function is at the edge of its domain.
    text = "import torch\nseen = []\ndef root(x):\n    seen.append(x.detach().clone())\n    return torch.sqrt(x - seen[0])\n"
    (own / "edge.py").write_text(text)
    done = nnlab("gradcheck", "--function", "edge.py:root", "--input", 3, "--out", "found", cwd=own)
    assert done.code == 1
    assert rows(done)["cause"].iloc[0].endswith("the edge of its domain (--domain LOW:HIGH)")
    assert (own / "found" / "gradcheck.csv").read_text() == done.out


def test_every_setting_belongs_to_a_question():
    belonging = {name for groups in _SETTINGS_OF.values() for group in groups for name in group}
    assert belonging == set(GradcheckSettings.model_fields) - {"all"}


@pytest.mark.parametrize(
    "words",
    [
        ("--model", "mlp:hidden=5", "--loss", "own.py:cubic", "--data", "diabetes"),
        ("--model", "mlp:hidden=5", "--loss", "own.py:tukey", "--data", "diabetes"),
        ("--model", "mlp:hidden=5", "--loss", "own.py:tukey:c=0.5", "--data", "diabetes"),
        ("--model", "mlp:hidden=4x4:norm=batch:dropout=0.3", "--loss", "l1", "--data", "iris", "--order", 2),
        ("--model", "mlp:hidden=4", "--data", "moons", "--checks", "reverse,forward,second,undefined,batched"),
        ("--model", "mlp:hidden=30x30", "--sample", 5, "--directions", 2),
        ("--function", "own.py:logs", "--input", "4x3,3", "--domain", "0.1:2"),
        ("--function", "own.py:square", "--input", 4, "--complex-inputs"),
        ("--module", "own.py:noisy", "--input", "5x3"),
        # Its gradient is 0 by an identity, which rounding breaks; and two masks of equal units may agree by chance.
        ("--model", "mlp:hidden=5:norm=batch", "--data", "iris", "--dtype", "float32"),
        ("--model", "mlp:hidden=5:norm=batch", "--data", "iris", "--dtype", "bfloat16"),
        ("--model", "mlp:hidden=5:dropout=0.3", "--data", "iris", "--init", "constant"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_what_is_right_passes(own, words):
    done = nnlab("gradcheck", *words, cwd=own)
    assert done.code == 0, done.out + done.err
    assert "wrong" not in set(rows(done)["verdict"])


def test_a_wrong_gradient_of_ones_own_loss_is_found_in_every_tensor_and_named(own):
    words = ("--model", "mlp:hidden=5", "--loss", "own.py:half_the_slope", "--data", "diabetes")
    done = nnlab("gradcheck", *words, cwd=own)
    assert done.code == 1
    found = rows(done)
    assert set(found["verdict"]) == {"wrong"}
    assert all("factor 1/2" in cause for cause in found["cause"])


def test_the_v_curve_has_a_foot_where_the_gradient_is_right_and_none_where_it_is_wrong(tmp_path):
    right = ("--model", "mlp:hidden=6", "--activation", "tanh", "--data", "iris")
    curve = rows(nnlab("gradcheck", *right, "--explain-step", "--out", "right", cwd=tmp_path))["error"]
    assert curve.min() < 1e-8
    assert curve.iloc[0] > 1e3 * curve.min() < curve.iloc[-1]
    wrong = nnlab("gradcheck", "--module", f"{EXAMPLE}:WrongLayer", "--input", "5x3", "--explain-step", cwd=tmp_path)
    assert wrong.code == 1
    assert rows(wrong)["error"].min() > 0.1
    table = nnlab("gradcheck", *right, "--explain-step", "--out", "right", "--format", "table", cwd=tmp_path)
    assert "the foot of a V" in table.out
    assert "log10 step" in table.out


def test_c1_the_chain_rule_of_formulas_is_shown_and_equals_the_closed_form(tmp_path):
    words = ("gradcheck", "--chain", "h=X*Y+X; X=sin(t); Y=t**2", "--at", "t=0.7")
    done = nnlab(*words, cwd=tmp_path)
    found = pd.read_csv(io.StringIO(done.out))
    total = found[found["row"] == "sum"].iloc[0]
    # d/dt (t^2 + 1) sin t.
    by_hand = 2 * 0.7 * math.sin(0.7) + (0.7**2 + 1) * math.cos(0.7)
    assert total["value"] == pytest.approx(by_hand, rel=1e-14)
    assert total["autograd"] == pytest.approx(by_hand, rel=1e-14)
    assert total["numeric"] == pytest.approx(by_hand, rel=1e-8)  # differences, at a step of 4e-6
    assert not (tmp_path / "results").exists()
    assert "h > Y > t" in nnlab(*words, "--format", "table", cwd=tmp_path).out


def test_c2_every_path_of_the_net_of_three_and_two_neurons_is_shown(tmp_path):
    done = nnlab("gradcheck", "--explain", "--out", "net", cwd=tmp_path)
    assert done.code == 0
    found = pd.read_csv(io.StringIO(done.out), keep_default_na=False)
    paths, sums = (found[found["row"] == kind] for kind in ("path", "sum"))
    last = paths["name"].str.rpartition(" > ")[2]
    by_input = paths["product"].astype(float).groupby(last).sum()
    for _, row in sums.iterrows():
        assert by_input[row["name"]] == pytest.approx(float(row["autograd"]), rel=1e-12)
        # Central differences in float64: good to about 1e-8 of the loss's own size.
        assert float(row["numeric"]) == pytest.approx(float(row["autograd"]), rel=1e-6, abs=1e-9)
    assert set(paths[last == "x1"]["name"].str.count(" > ")) == {7}
    assert sum(last == "x1") == 3 * 2
    assert (tmp_path / "net" / "chain.csv").read_text() == done.out
    steps = found[found["row"] == "step"]
    products = steps["local"].astype(float) * steps["upstream"].astype(float)
    assert steps["product"].astype(float).to_list() == pytest.approx(products.to_list(), rel=1e-15)


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path):
    done = nnlab("gradcheck", "--model", "linear", "--data", "iris", "--dry-run", cwd=tmp_path)
    # W [3, 4], b [3] and four rows of four inputs.
    assert "entries,31,plan" in done.out
    assert list(tmp_path.iterdir()) == []


WRONG = [
    ("--model mpl", "Did you mean 'mlp'?"),
    ("--init kaiming", "Did you mean 'kaiming_normal'?"),
    ("--checks revers", "--checks 'revers' is not known. Did you mean 'reverse'?"),
    ("--order 3", "--order takes 1 or 2, not 3."),
    ("--step 2", "--step takes a number between 0 and 1, not 2.0"),
    ("--sample 0", "--sample takes a whole number of 1 or more, not '0'."),
    ("--dtype f32", "--dtype"),
    ("--format xml", "--format"),
    ("--explain-step", "--explain-step goes with --function, --module or --model."),
    ("--input 3", "--input goes with --function or --module."),
    ("--function own.py:logs", "--function needs the shapes of its inputs: --input 4x3"),
    ("--model linear --function own.py:logs --input 3", "--function can't be combined with --model. Give one of them."),
    (
        "--function own.py:logs --input 3 --init zeros",
        "--function can't be combined with --init, which goes with --model.",
    ),
    ("--function own.py:logs --input 3,3 --domain 2", "--domain takes LOW:HIGH, such as 0.1:2, not '2'."),
    ("--function own.py:logs --input 3,3 --domain 2:1", "--domain takes LOW:HIGH with LOW below HIGH, not '2:1'."),
    ("--at t=1", "--at goes with --chain"),
    (
        "--explain --rows 3",
        "--explain can't be combined with --rows, which applies only to gradient checks."
        " It takes --model, --activation and --seed.",
    ),
    ("--chain h=X --at X=1 --seed 3", "--chain can't be combined with --seed. It takes --at."),
    (
        "--explain --activation gelu",
        "--explain shows the activations relu, sigmoid, softplus, tanh, not --activation gelu.",
    ),
    ("--explain --model linear", "--explain takes --model mlp:hidden=3x2 or other sizes, not linear."),
    ("--chain h=X --at X=a", "--at X takes a plain decimal number such as 0.01 or 1e-3, not 'a'."),
    ("--chain h=X --at X", "--at takes NAME=X,NAME=X, such as t=0.7, not 'X'."),
]
WRONG_WITH_TORCH = [
    ("--function none.py:f --input 3", "there is no file 'none.py' here."),
    ("--function own.py:log --input 3", "own.py has no 'log'. Did you mean 'logs'?"),
    ("--function own.py:number --input 3", "is of type int, not a function."),
    ("--function own.py:Sized --input 3", "is an nn.Module. Say --module."),
    ("--function own.py:breaks --input 3x3", "own.py:breaks raises IndexError at the point given"),
    ("--function own.py:logs --input 3", "missing 1 required positional argument: 'y'"),
    ("--function own.py:logs --input 4,4", "not finite at the point given. Choose other inputs (--domain LOW:HIGH)."),
    ("--function own.py:logs --input 3,-4", "--input takes shapes such as 4x3,5 (or scalar), not '-4'."),
    ("--module own.py:Sized --input 3", "can't be made without arguments"),
    ("--module own.py:number --input 3", "gives an object of type int, not an nn.Module."),
    ("--device quantum", "--device 'quantum' is not there. This machine has: cpu"),
    ("--chain h=X*(Y --at X=1", "can't be read as arithmetic"),
    ("--chain h=X*Y", "--at gives no value for X, Y."),
    ("--explain --format junit", "--format junit applies only to gradient checks."),
]


@pytest.mark.parametrize(("line", "said"), WRONG + WRONG_WITH_TORCH, ids=lambda value: str(value)[:40])
def test_what_can_not_be_is_one_or_two_lines_and_2(own, line, said):
    done = nnlab("gradcheck", *line.split(), cwd=own)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) <= 2
    assert [path.name for path in own.iterdir() if path.suffix != ".py" and path.name != "__pycache__"] == []


def test_help_and_usage_errors_come_without_torch(own):
    lines = [["gradcheck", "--help"], ["neuron", "--help"], *(["gradcheck", *line.split()] for line, _ in WRONG)]
    code = f"""
import sys
from nnlab.cli.app import main
for words in {lines!r}:
    sys.argv = ["nnlab", *words]
    try:
        main()
    except SystemExit:
        pass
    if {{"torch", "pandas"}} & set(sys.modules):
        print("LOADED by", words)
        break
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "LOADED" not in done.stdout
