"""Claims N1 and N2: every number of a neuron by hand, and the gates it can and can't learn."""

import itertools
import math

import pytest

from nnlab.core.errors import UsageError
from nnlab.core.spec import Spec
from nnlab.diagnostics.chain.neuron_steps import GATE_INPUTS, GATE_TARGETS, gate_run, neuron_steps, reason_descent_fails


def taught(gate, activation, **changed):
    """A gate run from weights and a bias of 0."""
    given = {"lr": 1.0, "epochs": 1000, "weights": (0.0, 0.0), "bias": 0.0}
    return gate_run(gate, activation=Spec(activation), **{**given, **changed})


def test_n1_every_number_equals_hand_arithmetic():
    (step,) = neuron_steps(
        weights=(0.5, -1.0),
        bias=0.1,
        inputs=(1.0, 2.0),
        target=1.0,
        lr=0.5,
        activation=Spec("sigmoid"),
        loss=Spec("mse"),
        steps=1,
    )
    total = 0.5 * 1 - 1.0 * 2 + 0.1
    output = 1 / (1 + math.exp(-total))
    delta = 2 * (output - 1) * output * (1 - output)
    new = [0.5 - 0.5 * delta * 1, -1.0 - 0.5 * delta * 2, 0.1 - 0.5 * delta]
    new_output = 1 / (1 + math.exp(-(new[0] * 1 + new[1] * 2 + new[2])))
    assert step.sum == pytest.approx(total, rel=1e-15)
    assert step.output == pytest.approx(output, rel=1e-14)
    assert step.loss == pytest.approx((output - 1) ** 2, rel=1e-14)
    assert step.loss_by_sum == pytest.approx(step.loss_by_output * step.output_by_sum, rel=1e-15)
    assert step.loss_by_weights == pytest.approx((delta, 2 * delta), rel=1e-13)
    assert (*step.new_weights, step.new_bias) == pytest.approx(new, rel=1e-13)
    assert step.new_output == pytest.approx(new_output, rel=1e-13)
    assert step.new_loss < step.loss


def test_each_step_goes_on_where_the_last_one_ended_and_the_loss_falls():
    steps = neuron_steps(
        weights=(0.5,),
        bias=0.0,
        inputs=(1.0,),
        target=0.2,
        lr=0.3,
        activation=Spec("tanh"),
        loss=Spec("huber"),
        steps=20,
    )
    assert all(one.new_weights == two.weights for one, two in itertools.pairwise(steps))
    assert all(two.loss < one.loss for one, two in itertools.pairwise(steps))


@pytest.mark.parametrize("gate", ["and", "or"])
def test_n2_a_step_neuron_learns_and_and_or_by_the_perceptron_rule(gate):
    run = taught(gate, "step")
    assert run.learned
    last = run.epochs[-1]
    decided = tuple(int(last.weights[0] * x + last.weights[1] * y + last.bias > 0) for x, y in GATE_INPUTS)
    assert decided == GATE_TARGETS[gate]


def test_n2_xor_goes_round_for_ever():
    run = taught("xor", "step")
    assert not run.learned
    assert "no straight line" in run.reason
    parameters = [(epoch.weights, epoch.bias) for epoch in run.epochs]
    assert parameters[-1] in parameters[:-1]


def test_n2_gradient_descent_cannot_move_a_step_neuron_and_the_reason_is_told():
    (step,) = neuron_steps(
        weights=(1.0, 1.0),
        bias=0.5,
        inputs=(1.0, 1.0),
        target=0.0,
        lr=10.0,
        activation=Spec("step"),
        loss=Spec("mse"),
        steps=1,
    )
    assert step.is_stuck
    assert step.new_weights == step.weights
    run = taught("and", "step")
    assert run.descent_gradient == 0.0
    assert "slope" in reason_descent_fails(run)
    assert reason_descent_fails(taught("and", "sigmoid")) == ""


@pytest.mark.parametrize("gate", ["and", "or"])
def test_a_sigmoid_neuron_learns_them_by_gradient_descent(gate):
    run = taught(gate, "sigmoid")
    assert run.learned
    assert run.rule == "gradient descent"


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_no_neuron_learns_xor(activation):
    assert not taught("xor", activation, lr=0.1, epochs=200).learned


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"inputs": (1.0,)}, "weights and input take equally many numbers, not 2 and 1"),
        ({"lr": 0.0}, "lr takes a number above 0"),
        ({"activation": Spec("sigmod")}, "sigmoid"),
        ({"loss": Spec("cross_entropy")}, "mse"),
    ],
)
def test_what_can_not_be_is_refused(changed, words):
    given = {
        "weights": (1.0, 2.0),
        "bias": 0.0,
        "inputs": (1.0, 1.0),
        "target": 1.0,
        "lr": 0.1,
        "activation": Spec("relu"),
        "loss": Spec("mse"),
        "steps": 1,
    }
    with pytest.raises(UsageError, match=words):
        neuron_steps(**{**given, **changed})
    with pytest.raises(UsageError, match="gate 'nand'"):
        taught("nand", "step")
