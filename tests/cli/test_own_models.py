"""A person's own nn.Module and optimizer from the command line: what is said, refused, written, and used again."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from commands import nnlab
from safetensors.torch import load_file
from torch import nn

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, features, outputs, *, width: int = 5, sizes: tuple[int, ...] = (4,), flip=False):
        super().__init__()
        self.hidden, self.norm = nn.Linear(features, width), nn.BatchNorm1d(width)
        self.out = nn.Linear(width, outputs)

    def forward(self, x):
        return self.out(torch.tanh(self.norm(self.hidden(x))))

class Branches(Net):
    def forward(self, x):
        z = super().forward(x)
        return z if z.sum() > 0 else 2 * z

class Wide(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = nn.Linear(features, 7)

    def forward(self, x):
        return self.linear(x)

class Stumbles(Wide):
    def forward(self, x):
        return self.linear(x[:, 1:])

class Unread(Wide):
    def __init__(self, features, things):
        super().__init__(features)

class Pair(Wide):
    def forward(self, x):
        return x, x

def three():
    return 3

def frozen(features, outputs):
    return nn.Linear(features, outputs).requires_grad_(False)

def no_optimizer(params, lr):
    return lr

def without_rate(params):
    return None
"""
TRAIN = ("train", "--data", "moons:samples=100", "--epochs", 2, "--batch-size", 16)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return tmp_path


def test_one_line_says_which_engine_was_taken_and_the_files_keep_it(place):
    batched = nnlab(*TRAIN, "--model", "mine.py:Net:width=6", "--seeds", 2, "--out", "one", cwd=place)
    looped = nnlab(*TRAIN, "--model", "mine.py:Branches", "--out", "other", cwd=place)
    assert batched.code == looped.code == 0, batched.err + looped.err
    assert batched.err.splitlines()[0] == "engine vmap: torch.func batches mine.py:Net."
    said = "engine loop, run by run: vmap can't batch mine.py:Branches: its control flow depends on the data."
    assert looped.err.splitlines()[0] == said
    assert "engine" not in batched.out
    assert set(pd.read_csv(place / "one" / "runs.csv")["engine"]) == {"vmap"}
    assert set(pd.read_csv(place / "other" / "runs.csv")["engine"]) == {"loop"}
    assert json.loads((place / "other" / "manifest.json").read_text())["facts"]["engines"] == [said]


def test_the_same_command_again_tries_nothing_and_trains_nothing(place):
    words = (*TRAIN, "--model", "mine.py:Net", "--out", "one")
    first, again = nnlab(*words, cwd=place), nnlab(*words, cwd=place)
    assert again.out == first.out
    assert "engine" not in again.err
    assert json.loads((place / "one" / "manifest.json").read_text())["facts"]["engines"]


def test_a_trained_module_predicts_and_its_weights_fit_the_module_itself(place):
    assert nnlab(*TRAIN, "--model", "mine.py:Net", "--out", "one", cwd=place).code == 0
    (place / "new.csv").write_text("x0,x1\n0.5,-0.2\n-1,0.3\n2,1\n")
    done = nnlab("predict", "one", "new.csv", cwd=place)
    assert done.code == 0, done.err
    rows = pd.read_csv(pd.io.common.StringIO(done.out))
    names: dict[str, type[nn.Module]] = {}
    exec(CODE, names)
    module = names["Net"](2, 1).eval()
    module.load_state_dict(load_file(place / "one" / "model" / "weights.safetensors"))
    x = torch.tensor([[0.5, -0.2], [-1, 0.3], [2, 1]])
    wanted = torch.sigmoid(module(x)).squeeze(1).tolist()
    # moons are not standardised; float64 of the same float32 weights against float32.
    assert rows["p(1)"].tolist() == pytest.approx(wanted, abs=1e-6)


def test_a_model_whose_file_has_changed_is_not_used(place):
    assert nnlab(*TRAIN, "--model", "mine.py:Net", "--out", "one", cwd=place).code == 0
    (place / "new.csv").write_text("x0,x1\n0.5,-0.2\n")
    (place / "mine.py").write_text(CODE.replace("torch.tanh", "torch.sin"))
    done = nnlab("predict", "one", "new.csv", cwd=place)
    assert done.code == 2
    assert "mine.py:Net has changed since this model was trained" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model mine.py:Nett", "mine.py has no 'Nett'. Did you mean 'Net'?"),
        ("--model mine.py:Net:widht=3", "has no key 'widht'. Did you mean 'width'? Its keys: width, sizes, flip."),
        ("--model mine.py:Net:width=wide", "mine.py:Net:width takes a whole number such as 10, not 'wide'."),
        ("--model mine.py:Net:sizes=4,4", "whole numbers joined by x"),
        ("--model mine.py:Net:flip=maybe", "takes true or false"),
        ("--model mine.py:Wide", "gives shape (2, 7) for rows of shape (2, 2) [B, *row]; it must give scores of shape (2, 1)"),
        ("--model mine.py:Stumbles", "mine.py:29 raises RuntimeError: mat1 and mat2 shapes"),
        ("--model mine.py:Unread", "takes 'things', but its type is missing or can't be read from text. Annotate it"),
        ("--model mine.py:Pair", "gives a tuple for rows"),
        ("--model mine.py:three", "makes 3, which is not an nn.Module."),
        ("--model mine.py:frozen", "has no parameters to train"),
        ("--model mine.py:Net --engine native", "--engine native has no rules for the nn.Module mine.py:Net"),
        ("--model mine.py:Branches --engine vmap", "its control flow depends on the data. Say auto or loop."),
        ("--model mine.py:Net --init lsuv", "--init lsuv"),
        ("--model mine.py:Net --batch-size 59", "leaves one row of 60 for the last batch"),
        ("--optimizer mine.py:no_optimizer", "returns 0.1, which is not a torch.optim.Optimizer."),
        ("--optimizer mine.py:without_rate", "is called as without_rate(params)"),
        ("--model transformer:heads=5", "transformer:width must be a multiple of heads=5, not 32"),
        ("--model transformer --data digits:image=true", "reads series, (steps,) or (channels, steps)"),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_refused_before_anything_is_written(words, said, place):
    done = nnlab("train", "--data", "moons:samples=100", *words.split(), cwd=place)
    assert done.code == 2
    assert done.err.startswith("error: --")
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (place / "results").exists()


def test_inits_of_a_module_are_compared_by_training_alone(place):
    words = ("compare-init", "--data", "moons:samples=100", "--model", "mine.py:Net", "--epochs", 2, "--seeds", 2)
    done = nnlab(*words, "--inits", "zeros,as_built,kaiming_normal", "--out", "one", cwd=place)
    assert done.code == 0, done.err
    assert not (place / "one" / "layers.csv").exists()
    summary = pd.read_csv(place / "one" / "summary.csv").set_index("arm")
    assert summary.loc["as_built", "verdict"] == "baseline"
    assert summary.loc["zeros", "n_trained"] == 0
    (note,) = [n for n in json.loads((place / "one" / "manifest.json").read_text())["notes"] if "layers.csv" in n]
    assert "on training alone" in note


def test_models_of_one_comparison_may_be_trained_by_different_engines(place):
    words = ("compare", "--data", "moons:samples=100", "--epochs", 1, "--seeds", 2, "--out", "one")
    done = nnlab(*words, "--vary", "model=mlp:hidden=4,mine.py:Net,mine.py:Branches", cwd=place)
    assert done.code == 0, done.err
    runs = pd.read_csv(place / "one" / "runs.csv")
    assert dict(zip(runs["model"], runs["engine"], strict=True)) == {
        "mlp:hidden=4": "native",
        "mine.py:Net": "vmap",
        "mine.py:Branches": "loop",
    }
    assert dict(zip(runs["model"], runs["init"], strict=True)) == {
        "mlp:hidden=4": "torch_default",
        "mine.py:Net": "as_built",
        "mine.py:Branches": "as_built",
    }


def test_a_rate_is_found_for_a_module_and_a_key_of_it_is_varied(place):
    swept = nnlab("sweep-lr", "--data", "moons:samples=100", "--model", "mine.py:Net", "--lr", "0.01,0.1,1e9",
                  "--seeds", 2, "--epochs", 2, "--out", "one", cwd=place)  # fmt: skip
    varied = nnlab("compare", "--data", "moons:samples=100", "--model", "mine.py:Net", "--vary", "width=3,6",
                   "--seeds", 2, "--epochs", 1, "--out", "other", cwd=place)  # fmt: skip
    assert swept.code == varied.code == 0, swept.err + varied.err
    assert set(pd.read_csv(place / "other" / "runs.csv")["model"]) == {"mine.py:Net:width=3", "mine.py:Net:width=6"}
    assert varied.err.count("engine vmap") == 1


def test_what_it_would_cost_is_told_of_a_module_too(place):
    done = nnlab(*TRAIN, "--model", "mine.py:Net", "--dry-run", cwd=place)
    assert done.code == 0, done.err
    assert not (place / "results").exists()
