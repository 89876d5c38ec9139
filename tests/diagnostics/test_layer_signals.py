"""The signals in a network's layers, held to slow loops, to a backward pass by hand and to the textbook's claims."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from problems import CPU, SOURCES, numbers, runs_of
from starts import drawn, module
from torch import nn

from nnlab.analysis.init_verdicts import init_verdict
from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.losses import LOSSES, constant_loss
from nnlab.core.spec import Spec, parse_spec
from nnlab.diagnostics.signals.layer_signals import SIGNAL_COLUMNS, Probe, distinct_units, probe_rows, signals
from nnlab.diagnostics.signals.passes import elementwise_activation
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from nnlab.networks.dense_models import mlp, neuron

# The greatest slope of each activation that can saturate, as calculus gives it.
STEEPEST = {"tanh": 1.0, "sigmoid": 0.25, "softsign": 1.0, "hardtanh": 1.0}


def net(activation="relu", **keys):
    return mlp((12,), 10, parse_spec(activation, what="--activation"), **keys)


def probe(rows=100, runs=None, loss="cross_entropy"):
    """Normal inputs and random classes."""
    generator = torch.Generator().manual_seed(7)
    shape = (rows,) if runs is None else (runs, rows)
    x = torch.randn(*shape, 12, generator=generator, dtype=torch.float64)
    return Probe(x, torch.randint(10, shape, generator=generator), LOSSES[loss], {})


def column(found, name):
    """[R, L], of a column that every layer has."""
    return torch.stack([layer[name] for layer in found.columns], 1)


def verdict(layers, weights, asked):
    """The word for the first run."""
    found = signals(layers, weights, asked)
    constant = constant_loss(asked.loss, asked.y, 10, asked.values)
    return init_verdict(pd.DataFrame(found.rows(0)), first_loss=found.loss[0].item(), constant_loss=constant).verdict


def rows_by_hooks(layers, activation, weights, run, asked, lr):
    """One run's rows and loss, from a module of its own, with autograd's derivatives and numpy's statistics."""
    network = module(layers, weights, run)
    calls = {}
    for name, each in network.named_modules():
        each.register_forward_hook(lambda _, given, out, name=name: calls.update({name: (given[0], out)}))
    loss = F.cross_entropy(network(asked.x[run]), asked.y[run])
    linears = [(name, each) for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    z = [calls[name][1] for name, _ in linears]
    deltas = torch.autograd.grad(loss, z, retain_graph=True)
    loss.backward()
    kind = getattr(nn, ACTIVATIONS[activation].torch_class)
    activated = [calls[name] for name, each in network.named_modules() if isinstance(each, kind)]
    rows = []
    for index, (name, each) in enumerate(linears):
        row = {"layer": index + 1, "layer_name": name, "predicted_second_moment": None}
        row |= linear_cells(each, z[index].detach().numpy(), deltas[index].numpy(), lr)
        row |= activation_cells(activation, *activated[index : index + 1])
        rows.append(row)
    return rows, loss.item()


def linear_cells(each, z, delta, lr):
    gradient = np.linalg.norm(each.weight.grad)
    return {
        "preactivation_second_moment": (z**2).mean(),
        "between_sample_sd": math.sqrt(np.mean([unit.var() for unit in z.T])),
        "delta_rms": math.sqrt((delta**2).mean()),
        "weight_gradient_norm": gradient,
        "update_ratio": lr * gradient / np.linalg.norm(each.weight.detach()),
        "distinct_units": each.out_features,
        "units": each.out_features,
    }


def activation_cells(activation, call=None):
    cells = dict.fromkeys(["activation_mean", "dead_fraction", "saturated_fraction"])
    if call is not None:
        a, h = (values.detach() for values in call)
        cells["activation_mean"] = h.mean().item()
        if activation != "sigmoid":
            cells["dead_fraction"] = np.mean([not unit.any() for unit in h.numpy().T])
        if activation in STEEPEST:
            a.requires_grad_()
            (slopes,) = torch.autograd.grad(ACTIVATIONS[activation].function(a).sum(), a)
            cells["saturated_fraction"] = (slopes.abs() < 0.05 * STEEPEST[activation]).double().mean().item()
    return cells


@pytest.mark.parametrize(
    ("activation", "keys"),
    [
        ("relu", {"width": 9, "depth": 3}),
        ("relu", {"hidden": (7, 13), "bias": False}),
        ("tanh", {"width": 8, "depth": 4, "residual": True, "dropout": 0.4}),
        ("sigmoid", {"hidden": (11,), "norm": "batch"}),
        ("hardtanh", {"width": 6, "depth": 3, "residual": True, "norm": "layer"}),
        ("softsign", {"hidden": ()}),
        ("gelu", {"hidden": (900, 900)}),  # every run a chunk of its own
    ],
    ids=str,
)
def test_every_column_of_every_run_equals_a_slow_loop_over_modules(activation, keys):
    layers = net(activation, **keys)
    runs = 2 if keys.get("hidden") == (900, 900) else 5
    weights = drawn(layers, "normal:std=0.8", range(runs))
    for name, values in weights.items():  # no init draws a bias or a norm's weight
        if values.ndim == 2:
            values += 0.3 * torch.randn(values.shape, generator=torch.Generator().manual_seed(len(name)))
    asked = probe(500, runs=runs)
    lr_R = torch.linspace(0.1, 0.5, runs, dtype=torch.float64)
    found = signals(layers, weights, asked, lr_R=lr_R)
    for run in range(runs):
        expected, loss = rows_by_hooks(layers, activation, weights, run, asked, lr_R[run].item())
        assert math.isclose(found.loss[run], loss, rel_tol=1e-9)
        rows = found.rows(run)
        assert len(rows) == len(expected)
        for row, wanted in zip(rows, expected, strict=True):
            assert row.keys() == wanted.keys()
            for name, cell in row.items():
                # Both sides compute in float64, in another order.
                near = pytest.approx(wanted[name], rel=1e-9, abs=1e-14) if isinstance(cell, float) else wanted[name]
                assert cell == near, name


def test_deltas_equal_a_backward_pass_by_hand():
    layers = net("tanh", hidden=(5,))
    weights = drawn(layers, "xavier_normal", [3])
    asked = probe(40, loss="mse")
    w1, b1, w2, b2 = (weights[name][0].numpy() for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    x, targets = asked.x.numpy(), np.eye(10)[asked.y.numpy()]
    h = np.tanh(x @ w1.T + b1)
    # The mean over 40 rows of the mean over 10 scores of (s - y)^2.
    delta2 = 2 * (h @ w2.T + b2 - targets) / (10 * 40)
    delta1 = delta2 @ w2 * (1 - h**2)
    found = signals(layers, weights, asked)
    expected = [[math.sqrt((delta1**2).mean()), math.sqrt((delta2**2).mean())]]
    assert column(found, "delta_rms").numpy() == pytest.approx(np.array(expected), rel=1e-12)
    norms = [[np.linalg.norm(delta1.T @ x), np.linalg.norm(delta2.T @ h)]]
    assert column(found, "weight_gradient_norm").numpy() == pytest.approx(np.array(norms), rel=1e-12)


def test_one_score_a_row_is_asked_with_targets_of_its_own_kind():
    layers = mlp((12,), 1, Spec("relu"), hidden=())
    weights = drawn(layers, "xavier_normal", [0, 1])
    x, y = probe(30).x, (torch.arange(30) % 2).float()
    found = signals(layers, weights, Probe(x, y, LOSSES["bce"], {}))
    # dL/dz = (p - y) / N for one layer and a sigmoid.
    delta = (torch.sigmoid(x @ weights["0.weight"].mT)[..., 0] - y.double()) / 30
    torch.testing.assert_close(column(found, "delta_rms")[:, 0], delta.square().mean(1).sqrt(), rtol=1e-12, atol=0)


def test_a_run_alone_is_seen_as_in_company_and_shared_rows_as_rows_of_its_own():
    layers = net(width=20, depth=8)
    weights = drawn(layers, "kaiming_normal", range(60))
    asked = probe(512)
    together = signals(layers, weights, asked)
    alone = signals(layers, {name: values[17:18] for name, values in weights.items()}, asked)
    own = Probe(asked.x.expand(60, -1, -1), asked.y.expand(60, -1), asked.loss, {})
    copied = signals(layers, weights, own)
    for here, there, copy in zip(together.columns, alone.columns, copied.columns, strict=True):
        for name in there:
            # To the bits only where the products take the same path; nothing here promises that.
            torch.testing.assert_close(here[name][17:18], there[name], rtol=1e-12, atol=1e-15)
            torch.testing.assert_close(here[name], copy[name], rtol=1e-12, atol=1e-15)


def test_weights_of_any_precision_are_seen_in_float64():
    layers = net(hidden=(6,))
    single = {name: values.float() for name, values in drawn(layers, "torch_default", [0, 1]).items()}
    exact = {name: values.double() for name, values in single.items()}
    asked = probe()
    rounded = Probe(asked.x.float(), asked.y, asked.loss, {})
    widened = Probe(asked.x.float().double(), asked.y, asked.loss, {})
    assert signals(layers, single, rounded).rows(1) == signals(layers, exact, widened).rows(1)


def test_looking_changes_no_bit_of_training():
    settings = {"data": "moons:samples=120", "model": "mlp:hidden=8x8:norm=batch:dropout=0.2", "epochs": 4}
    runs = runs_of(settings, lrs=[0.1, 0.5], seeds=[0, 1])
    looks = []

    def watch(seen, _, data):
        program, seeds = seen.program, seen.seed_of_run
        asked = Probe(data.train.x[seeds], data.train.y[seeds], program.loss, program.loss_values)
        looks.append(signals(program.layers, seen.parameters, asked, lr_R=torch.full((4,), 0.1)))
        return []

    found = []
    state = torch.get_rng_state()
    for watcher in (None, watch):
        finished = []
        execute(runs, SOURCES, Machine(CPU, 1), Hooks(finished.extend, watch=watcher, keep_weights=True))
        found.append({each.record.run.run_id: numbers(each) for each in finished})
    assert found[0] == found[1]
    assert len(looks) == 5
    assert torch.equal(torch.get_rng_state(), state)


def test_rows_have_the_columns_of_layers_csv_in_order_and_none_where_one_does_not_apply():
    layers = net(hidden=(4,))
    first, last = signals(layers, drawn(layers, "xavier_normal", [0]), probe()).rows(0, predicted=[1.5, None])
    assert list(first) == list(last) == ["layer", "layer_name", *SIGNAL_COLUMNS]
    assert (first["predicted_second_moment"], last["predicted_second_moment"]) == (1.5, None)
    assert first["saturated_fraction"] is None  # relu is not bounded
    assert first["update_ratio"] is None  # no rate was given
    assert last["activation_mean"] is last["dead_fraction"] is None  # scores are what they are
    assert (first["units"], last["units"]) == (4, 10)


def test_the_update_ratio_of_another_optimizer_comes_from_its_own_last_update():
    layers = net(hidden=(4,))
    weights = drawn(layers, "xavier_normal", [0, 1])
    moved = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    ratios = column(signals(layers, weights, probe(), update_norm_RL=moved), "update_ratio")
    norms = torch.stack([weights[name].flatten(1).norm(dim=1) for name in ("0.weight", "2.weight")], 1)
    torch.testing.assert_close(ratios, moved.double() / norms)


def test_probe_rows_are_spread_over_sorted_data_and_never_more_than_there_are():
    rows = probe_rows(4000)
    assert len(rows) == len(rows.unique()) == 512
    assert rows[0] == 0
    assert rows[-1] >= 4000 - 8
    assert probe_rows(30).tolist() == list(range(30))


@pytest.mark.parametrize("name", STEEPEST)
def test_the_steepest_slope_is_the_one_of_calculus(name):
    # Looked up on a grid whose point nearest to 0 is 0 itself, where all of these are steepest.
    assert elementwise_activation(Spec(name)).steepest == STEEPEST[name]


def test_shifted_limits_are_steep_between_them():
    assert elementwise_activation(parse_spec("hardtanh:min_val=5:max_val=5.5", what="--activation")).steepest == 1.0


def test_only_activations_that_can_be_zero_can_be_dead():
    never = {name for name in ACTIVATIONS if not elementwise_activation(Spec(name)).reaches_zero}
    assert never == {"sigmoid", "softplus"}


def test_copies_of_a_unit_are_counted_once_by_weights_and_bias():
    units = torch.tensor([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0001], [1.0, 2.001], [0.0, 0.0], [0.0, 0.0], [-1.0, -2.0]])
    units = units.double()[None]
    # (1, 2.0001) is within 1e-4 of (1, 2), (1, 2.001) is not; nothing is -(1, 2).
    assert distinct_units(units, None).tolist() == [4]
    assert distinct_units(1e-30 * units, None).tolist() == [4]
    assert distinct_units(units, torch.tensor([[0.0, 1, 0, 0, 0, 0, 0]]).double()).tolist() == [5]


def test_zeros_leave_one_distinct_unit_a_layer_and_a_gradient_on_the_output_bias_alone():
    layers = net("relu", width=9, depth=3)
    found = signals(layers, drawn(layers, "zeros", [0, 1]), probe())
    assert column(found, "distinct_units").eq(1).all()
    assert column(found, "weight_gradient_norm").eq(0).all()
    assert column(found, "delta_rms")[:, :-1].eq(0).all()
    assert column(found, "delta_rms")[:, -1].gt(0).all()  # dL/dz of the scores is that of their bias


def test_constants_leave_one_distinct_unit_a_layer():
    layers = net("tanh", width=9, depth=3)
    assert column(signals(layers, drawn(layers, "constant", [0]), probe()), "distinct_units").eq(1).all()


def test_the_first_loss_of_ten_classes_at_a_small_init_is_ln_10():
    layers = net(hidden=(20, 20))
    assert signals(layers, drawn(layers, "normal:std=1e-4", [0]), probe()).loss[0] == pytest.approx(2.302585, abs=1e-6)
    assert signals(layers, drawn(layers, "zeros", [0]), probe()).loss[0] == pytest.approx(math.log(10), rel=1e-12)


def test_orthogonal_layers_keep_the_signal_exactly_at_any_depth_both_ways():
    layers = mlp((12,), 12, Spec("identity"), width=12, depth=30)
    weights = drawn(layers, "orthogonal", [0, 1])
    product = torch.eye(12, dtype=torch.float64)
    for name, values in weights.items():
        if name.endswith("weight"):
            product = values @ product
    assert torch.linalg.svdvals(product) == pytest.approx(1, abs=1e-12)
    found = signals(layers, weights, probe())
    for name in ("preactivation_second_moment", "between_sample_sd", "delta_rms"):
        values = column(found, name)
        torch.testing.assert_close(values, values[:, :1].expand_as(values), rtol=1e-12, atol=0)


def test_the_condition_number_of_gaussian_layers_grows_with_depth():
    conditions = []
    for depth in (1, 5, 20):
        weights = drawn(mlp((12,), 12, Spec("identity"), width=12, depth=depth), "lecun_normal", range(20))
        product = torch.eye(12, dtype=torch.float64)
        for name, values in weights.items():
            if name.endswith("weight"):
                product = values @ product
        values = torch.linalg.svdvals(product)
        conditions.append((values[:, 0] / values[:, -1]).median())
    assert conditions[0] * 10 < conditions[1] < conditions[2] / 10


def test_relu_layers_keep_as_much_of_the_second_moment_as_published():
    # Without biases. Given what enters, each layer's factor is independent of the others; 40 draws of 30 of them at
    # width 100 have a relative standard error of sqrt(5 / 100 / 1200), 0.6 %.
    layers = net(width=100, depth=31, bias=False)
    for init, kept in (("kaiming_normal", 1), ("xavier_normal", 1 / 2), ("torch_default", 1 / 6)):
        moments = column(signals(layers, drawn(layers, init, range(40)), probe(16)), "preactivation_second_moment")
        factors = moments[:, 1:31] / moments[:, :30]
        assert factors.mean() == pytest.approx(kept, rel=0.025)


def test_the_weight_gradients_of_relu_layers_stay_level_while_the_signal_vanishes():
    layers = net(width=50, depth=10, bias=False)
    found = signals(layers, drawn(layers, "normal:std=0.02", range(5)), probe())
    norms, deltas = column(found, "weight_gradient_norm"), column(found, "delta_rms")
    assert deltas[:, 0].lt(1e-6 * deltas[:, -1]).all()
    assert (norms.amax(1) / norms.amin(1)).lt(10).all()


@pytest.mark.parametrize(
    ("word", "activation", "init", "keys"),
    [
        ("symmetric", "relu", "zeros", {"width": 100, "depth": 6}),
        ("symmetric", "sigmoid", "constant", {"width": 100, "depth": 2}),
        ("vanishing", "relu", "normal:std=0.01", {"width": 100, "depth": 6}),
        ("vanishing", "relu", "torch_default", {"width": 100, "depth": 30}),
        ("exploding", "relu", "normal:std=0.5", {"width": 100, "depth": 6}),
        ("exploding", "relu", "normal:std=1e200", {"width": 100, "depth": 6}),
        ("saturated", "sigmoid", "normal:std=2", {"hidden": (30, 30)}),
        ("healthy", "relu", "kaiming_normal", {"width": 100, "depth": 6}),
        ("healthy", "tanh", "xavier_uniform", {"width": 100, "depth": 6}),
        ("healthy", "tanh", "kaiming_normal", {"width": 1, "depth": 1}),
    ],
    ids=str,
)
def test_the_verdict_on_a_real_network_is_the_textbooks(word, activation, init, keys):
    layers = net(activation, **keys)
    assert verdict(layers, drawn(layers, init, [0]), probe(500)) == word


def test_units_behind_a_great_negative_bias_are_dead_though_all_of_them_differ():
    layers = net(hidden=(50, 50))
    weights = drawn(layers, "kaiming_normal", [0])
    weights["0.bias"][:, :40] = -1000.0
    assert verdict(layers, weights, probe(500)) == "dead"
    weights["0.bias"][:] = -1000.0
    assert column(signals(layers, weights, probe(500)), "distinct_units").tolist() == [[50, 50, 10]]


def test_a_step_lets_no_gradient_through_wherever_it_stands():
    hidden = net("step", hidden=(6, 6))
    found = signals(hidden, drawn(hidden, "xavier_normal", [0]), probe())
    assert column(found, "delta_rms")[0, :2].tolist() == [0, 0]
    assert verdict(hidden, drawn(hidden, "xavier_normal", [0]), probe()) == "vanishing"
    last = neuron((12,), 10, Spec("step"))
    assert column(signals(last, drawn(last, "xavier_normal", [0]), probe()), "delta_rms").tolist() == [[0]]
