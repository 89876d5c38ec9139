"""Claims C1 and C2: the sum over all paths is the derivative."""

import math

import pytest
import torch

from nnlab.core.errors import UsageError
from nnlab.diagnostics.chain.chain_rule import chain_rule, small_net
from nnlab.diagnostics.chain.formulas import parse_formulas


def test_c1_the_chain_rule_of_two_functions_of_t():
    rule = chain_rule("h=X*Y+X; X=sin(t); Y=t**2", {"t": 0.7})
    # dh/dt = (Y + 1) cos t + X 2t
    by_hand = (0.7**2 + 1) * math.cos(0.7) + math.sin(0.7) * 2 * 0.7
    total = rule.total("t")
    assert total.paths == 2
    assert total.total == pytest.approx(by_hand, rel=1e-14)
    assert total.autograd == pytest.approx(by_hand, rel=1e-14)
    assert total.numeric == pytest.approx(by_hand, rel=1e-8)
    assert rule.ok
    products = {path.names: path.product for path in rule.paths}
    assert products[("h", "X", "t")] == pytest.approx((0.7**2 + 1) * math.cos(0.7), rel=1e-14)
    assert products[("h", "Y", "t")] == pytest.approx(math.sin(0.7) * 1.4, rel=1e-14)


@pytest.fixture(scope="module")
def rule():
    """The chain rule of a net of three and two hidden neurons."""
    return small_net(hidden=(3, 2), activation="sigmoid", seed=2)


def test_c2_the_net_of_three_and_two_neurons_agrees_by_every_weight_and_input(rule):
    assert rule.ok
    assert {total.by: total.paths for total in rule.totals}["x1"] == 6
    assert {total.by: total.paths for total in rule.totals}["w1_1_1"] == 2
    assert {total.by: total.paths for total in rule.totals}["w3_1_2"] == 1


def test_c2_is_what_plain_pytorch_says_of_the_same_net(rule):
    values = {node.name: node.value for node in rule.nodes}
    layers = []
    for depth, (wide, narrow) in enumerate([(2, 3), (3, 2), (2, 1)], start=1):
        weight = [
            [values[f"w{depth}_{unit}_{source}"] for source in range(1, wide + 1)] for unit in range(1, narrow + 1)
        ]
        bias = [values[f"b{depth}_{unit}"] for unit in range(1, narrow + 1)]
        layers.append([torch.tensor(part, dtype=torch.float64, requires_grad=True) for part in (weight, bias)])
    a = torch.tensor([values["x1"], values["x2"]], dtype=torch.float64)
    for weight, bias in layers:
        a = torch.sigmoid(weight @ a + bias)
    ((a - 1.0) ** 2 / 2).sum().backward()
    for depth, (weight, bias) in enumerate(layers, start=1):
        for unit, source in torch.cartesian_prod(*(torch.arange(n) for n in weight.shape)).tolist():
            ours = rule.total(f"w{depth}_{unit + 1}_{source + 1}").total
            assert ours == pytest.approx(float(weight.grad[unit, source]), rel=1e-12)
        assert rule.total(f"b{depth}_1").total == pytest.approx(float(bias.grad[0]), rel=1e-12)


def test_upstream_gradients_are_sums_of_the_products_that_arrive(rule):
    for node in rule.nodes:
        arriving = [link.product for link in rule.links if link.by == node.name]
        if arriving:
            assert node.upstream == pytest.approx(math.fsum(arriving), rel=1e-13)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("h=__import__('os')", "__import__"),
        ("h=t.real", "not arithmetic"),
        ("h=X; X=h", "circle"),
        ("h=t; h=2*t", "twice"),
        ("h", "NAME=FORMULA"),
        ("h=sine(t)", "Did you mean 'sin'"),
        ("h=sin", "without an argument"),
        ("sin=t", "is a function"),
        ("h='a'", "not a real number"),
        ("h=(t", "can't be read"),
        ("h=" + "-" * 200 + "t", "nested"),
        ("", "empty"),
        ("h=" + "1+" * 3000 + "1", "characters"),
    ],
)
def test_what_is_no_formula_is_refused_with_a_reason(text, words):
    with pytest.raises(UsageError, match=words):
        parse_formulas(text)


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("h=t*s", {"t": 1.0}, "no value for s"),
        ("h=t", {"t": 1.0, "u": 2.0}, "'u'"),
        ("h=t; g=t", {"t": 1.0}, "one output"),
        ("h=log(t)", {"t": -1.0}, "'h' is nan"),
    ],
)
def test_values_that_do_not_fit_are_refused(text, at, words):
    with pytest.raises(UsageError, match=words):
        chain_rule(text, at)


def test_a_computation_with_too_many_paths_is_refused():
    lines = "; ".join(f"b{i}=2*a{i}; c{i}=a{i}/2; a{i + 1}=b{i}*c{i}" for i in range(20))
    with pytest.raises(UsageError, match="paths"):
        chain_rule(lines, {"a0": 0.1})
    with pytest.raises(UsageError, match="too large"):
        small_net(hidden=(100, 100, 100), activation="sigmoid", seed=2)
