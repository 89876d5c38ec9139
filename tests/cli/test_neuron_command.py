"""`nnlab neuron`: claims N1 and N2 as a person meets them."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from commands import Ended, nnlab

ROOT = Path(__file__).parents[2]


def rows(ended: Ended) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(ended.out))


def test_n1_every_number_of_the_neuron_equals_hand_arithmetic(tmp_path):
    words = ("--weights", "0.5,-1", "--bias", 0.1, "--activation", "sigmoid", "--input", "1,2")
    done = nnlab("neuron", *words, "--target", 1, "--lr", 0.5, cwd=tmp_path)
    assert done.code == 0, done.err
    s = 0.5 * 1 - 1 * 2 + 0.1
    output = 1 / (1 + math.exp(-s))
    by_output, by_sum = 2 * (output - 1), output * (1 - output)
    delta = by_output * by_sum
    new = [0.5 - 0.5 * delta * 1, -1 - 0.5 * delta * 2, 0.1 - 0.5 * delta]
    new_output = 1 / (1 + math.exp(-(new[0] * 1 + new[1] * 2 + new[2])))
    by_hand = {"s": s, "O": output, "L": (output - 1) ** 2, "dL/dO": by_output, "dO/ds": by_sum, "dL/ds": delta}
    by_hand |= {"dL/dw1": delta * 1, "dL/dw2": delta * 2, "dL/db": delta}
    by_hand |= {
        "new w1": new[0],
        "new w2": new[1],
        "new b": new[2],
        "new O": new_output,
        "new L": (new_output - 1) ** 2,
    }
    # Both are float64, but for the order of sums.
    assert rows(done).set_index("quantity")["value"].to_dict() == pytest.approx(by_hand, rel=1e-13)
    assert nnlab("neuron", cwd=tmp_path).out == done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("--weights", "-1"), ("--weights=-1",)], ids=str)
def test_a_leading_minus_is_a_number_and_no_option(tmp_path, words):
    found = rows(nnlab("neuron", *words, "--bias", "-.5", "--input", "-2", cwd=tmp_path)).set_index("quantity")["value"]
    assert found["s"] == 1.5
    assert rows(nnlab("neuron", "--weights", "-1,2", "--input", "1,1", cwd=tmp_path))["value"][0] == pytest.approx(1.1)


def test_each_step_of_a_training_starts_where_the_last_one_ended(tmp_path):
    found = rows(nnlab("neuron", "--train", 20, "--loss", "huber:delta=0.5", cwd=tmp_path))
    assert list(found["step"]) == list(range(1, 21))
    assert found["new_loss"].to_list()[:-1] == found["loss"].to_list()[1:]
    assert found["loss"].is_monotonic_decreasing
    table = nnlab("neuron", "--train", 200, "--format", "table", cwd=tmp_path).out
    assert "180 rows left out: --all shows every row." in table
    assert "left out" not in nnlab("neuron", "--train", 200, "--format", "table", "--all", cwd=tmp_path).out


@pytest.mark.parametrize("gate", ["and", "or"])
@pytest.mark.parametrize("activation", ["step", "sigmoid"])
def test_n2_and_and_or_are_learned(tmp_path, gate, activation):
    done = nnlab("neuron", "--gate", gate, "--activation", activation, cwd=tmp_path)
    found = rows(done)
    assert found["wrong"].iloc[-1] == 0
    assert f"'{gate}' is learned" in done.err
    assert set(found["rule"]) == {"perceptron" if activation == "step" else "gradient descent"}


def test_n2_xor_is_not_learned_and_descent_can_not_move_a_step(tmp_path):
    done = nnlab("neuron", "--gate", "xor", "--activation", "step", cwd=tmp_path)
    assert (rows(done)["wrong"] > 0).all()
    assert "no straight line separates the two classes of xor" in done.err
    assert "Gradient descent moves nothing: the step's slope f'(s) is 0" in done.err
    stuck = nnlab("neuron", "--activation", "step", cwd=tmp_path)
    values = rows(stuck).set_index("quantity")["value"]
    assert values["L"] == values["new L"] == 1
    assert "nothing moves: the slope of step at s = -1.4 is 0" in stuck.err


@pytest.mark.parametrize(("name", "wrong"), [("and", 0), ("or", 0), ("xor", 2)])
def test_the_recorded_gates_are_written_where_they_are_asked_for(tmp_path, name, wrong):
    recorded = ROOT / "experiments" / "neuron" / f"{name}.toml"
    done = nnlab("neuron", "--config", recorded, "--out", "found", cwd=tmp_path)
    assert done.code == 0, done.err
    assert (tmp_path / "found" / "neuron.csv").read_text() == done.out
    assert rows(done)["wrong"].iloc[-1] == wrong
    assert nnlab("show", "found", "--format", "csv", cwd=tmp_path).out == done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "--weights 1,2,3",
            "--weights and --input take equally many numbers, not 3 and 2. Give one weight for each input.",
        ),
        ("--weights a,b", "--weights takes a plain decimal number such as 0.01 or 1e-3, not 'a'."),
        ("--weights=", "--weights takes"),
        ("--activation relux", "--activation 'relux' is not known. Did you mean 'relu'?"),
        ("--activation relu:slope=1", "--activation relu has no key 'slope'."),
        ("--loss ms", "--loss 'ms' is not known."),
        ("--loss bce", "--loss bce takes scores, not the output of a neuron. Use mse, l1 or huber."),
        ("--lr -1", "--lr takes rates above 0, not '-1'"),
        ("--train 0", "--train takes a whole number of 1 or more, not '0'."),
        ("--gate nand", "--gate"),
        (
            "--gate and --target 1",
            "--gate has four rows of its own and the squared error. It can't be combined with --target.",
        ),
        ("--gate and --weights 1", "--gate has two inputs: --weights takes two numbers, not 1."),
    ],
)
def test_what_can_not_be_is_one_line_and_2(tmp_path, line, said):
    done = nnlab("neuron", *line.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
