"""Recurrent layers, differentiated by hand through time, against PyTorch's own modules and autograd."""

from __future__ import annotations

import math
from itertools import pairwise as neighbours
from typing import Final

import pytest
import torch
from problems import Case, pairwise, runs_of, trained
from scipy import stats
from torch import Tensor, nn

from nnlab.core.errors import UsageError
from nnlab.engine.arrays import padded_like, padded_zeros
from nnlab.engine.kernels.recurrence import RecurrentKernel
from nnlab.engine.kernels.recurrent_cells import Tanh
from nnlab.engine.kernels.site import Kernel, Site, Weights
from nnlab.engine.modules import module_of
from nnlab.engine.outcomes import Fitted
from nnlab.engine.plan import largest_tile_size
from nnlab.engine.program import Shape, program_of
from nnlab.engine.starting import starting_weights
from nnlab.networks.layers import parameters
from nnlab.networks.recurrent import Kind, Recurrent

RUNS, ROWS = 3, 11
CPU: Final = torch.device("cpu")
SHAPE: Final = Shape("regression", (4,), 0, 20, 0, 0)

LAYERS: Final = [
    Recurrent("rnn_tanh", inputs=1, hidden=5, steps=7),
    Recurrent("rnn_relu", inputs=3, hidden=4, steps=6, bidirectional=True),
    Recurrent("gru", inputs=1, hidden=6, steps=9, bidirectional=True),
    Recurrent("gru", inputs=4, hidden=3, steps=5, channels_first=False),
    Recurrent("gru", inputs=2, hidden=8, steps=4, bidirectional=True, read="last"),
    Recurrent("lstm", inputs=3, hidden=5, steps=6),
    Recurrent("lstm", inputs=2, hidden=1, steps=8, bidirectional=True, channels_first=False),
    Recurrent("lstm", inputs=9, hidden=7, steps=1, bidirectional=True, read="last"),
]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laid_out(values: Tensor) -> Tensor:
    """In the padded layout of the engine's arrays."""
    return padded_zeros(*values.shape, dtype=values.dtype, device=CPU).copy_(values)


def weights_of(layer: Recurrent) -> Weights:
    """Parameters of all runs, drawn; gradients full of what is to be overwritten."""
    named = {
        each.name: laid_out(drawn(RUNS, *each.shape, seed=i)) for i, each in enumerate(layer.parameters("0"), start=5)
    }
    return Weights(named, {name: torch.full_like(value, 9.0) for name, value in named.items()}, {}, fused=False)


def kernel_of(layer: Recurrent, weights: Weights, *, first: bool = False) -> Kernel:
    return RecurrentKernel(layer, Site(weights, "0", ROWS, lambda x, _: x, first, padded_zeros, padded_like))


def by_autograd(
    layer: Recurrent, weights: Weights, run: int, x: Tensor, d: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Output [N, B], its product with d differentiated by the input, and by the parameters, of one run of PyTorch's module."""
    module = module_of((layer,), torch.Generator()).double()
    module.load_state_dict({name: value[run] for name, value in weights.parameters.items()})
    rows = x[run].T.contiguous().requires_grad_()
    out = module(rows)
    dx, *gradients = torch.autograd.grad((out * d[run].T).sum(), [rows, *module.parameters()])
    return out.detach().T, dx.T, gradients


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_and_its_gradients_equal_pytorchs_module_run_by_run(layer):
    weights = weights_of(layer)
    kernel = kernel_of(layer, weights)
    d = laid_out(drawn(RUNS, layer.outputs, ROWS, seed=2))
    for step in range(2):  # the second time in used buffers
        x = laid_out(drawn(RUNS, layer.inputs * layer.steps, ROWS, seed=step))
        out = kernel.forward(x, training=True).clone()
        dx = kernel.backward(d.clone())
        for run in range(RUNS):
            wanted_out, wanted_dx, wanted = by_autograd(layer, weights, run, x, d)
            # Sums of a few dozen products in another order, through up to nine steps.
            torch.testing.assert_close(out[run], wanted_out, rtol=1e-11, atol=1e-13)
            torch.testing.assert_close(dx[run], wanted_dx, rtol=1e-11, atol=1e-12)
            for name, gradient in zip(weights.parameters, wanted, strict=True):
                torch.testing.assert_close(weights.gradients[name][run], gradient, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_evaluation_keeps_no_gates_and_gives_the_same_bits(layer):
    weights = weights_of(layer)
    kernel = kernel_of(layer, weights)
    x = laid_out(drawn(RUNS, layer.inputs * layer.steps, ROWS, seed=0))
    trained_on = kernel.forward(x, training=True).clone()
    assert torch.equal(kernel.forward(x, training=False), trained_on)


def test_rows_that_all_runs_share_are_read_as_each_runs_own():
    layer = LAYERS[2]
    weights = weights_of(layer)
    x = drawn(1, ROWS, layer.steps, seed=0).expand(RUNS, -1, -1).transpose(1, 2)
    shared = kernel_of(layer, weights, first=True).forward(x, training=True).clone()
    assert torch.equal(kernel_of(layer, weights).forward(x.contiguous(), training=True), shared)


@pytest.mark.parametrize("kind", ["rnn_tanh", "rnn_relu", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_parameters_have_pytorchs_names_shapes_and_bound(kind: Kind, bidirectional: bool):
    layer = Recurrent(kind, inputs=3, hidden=16, steps=2, bidirectional=bidirectional)
    module = module_of((layer,), torch.Generator())
    assert {each.name: each.shape for each in layer.parameters("0")} == {
        name: tuple(value.shape) for name, value in module.named_parameters()
    }
    assert {each.torch_bound for each in layer.parameters("0")} == {0.25}


@pytest.mark.parametrize(("model", "module"), [("rnn", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)])
def test_torch_default_is_the_law_that_pytorchs_constructor_draws_from(model, module):
    settings = {"data": "linear_regression:samples=20:features=4", "model": f"{model}:hidden=40"}
    (run,) = runs_of(settings, seeds=[3])
    program = program_of(run, SHAPE)
    start = starting_weights(program, run, torch.zeros(1, 4))
    for each in parameters(program.layers[:1]):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            built = dict(module(1, 40).named_parameters())[each.name.removeprefix("0.")]
        # Two samples of 40 to 6400 draws each; at a level of 1e-4 a false alarm is as rare as this seed is fixed.
        assert stats.ks_2samp(start[each.name].flatten(), built.detach().flatten()).pvalue > 1e-4, each.name
        assert stats.kstest(start[each.name].flatten() * math.sqrt(40), "uniform", (-1, 2)).pvalue > 1e-4, each.name


def test_other_inits_apply_to_both_matrices_and_leave_biases_at_zero():
    settings = {"data": "linear_regression:samples=20:features=4", "model": "gru:hidden=7", "init": "orthogonal"}
    (run,) = runs_of(settings)
    start = starting_weights(program_of(run, SHAPE), run, torch.zeros(1, 4))
    for name, inputs in [("weight_ih", 1), ("weight_hh", 7)]:
        weight = start[f"0.{name}_l0"]
        # Columns are orthonormal to rounding: QR of 21 rows.
        torch.testing.assert_close(weight.T @ weight, torch.eye(inputs, dtype=torch.float64), rtol=0, atol=1e-14)
        assert not start[f"0.bias_{name[-2:]}_l0"].any()


def test_lsuv_says_that_it_has_no_rule_for_a_state_fed_back():
    (run,) = runs_of({"data": "linear_regression:samples=20:features=4", "model": "gru:hidden=3", "init": "lsuv"})
    with pytest.raises(UsageError, match=r"init lsuv .* no rule for Recurrent"):
        starting_weights(program_of(run, SHAPE), run, torch.zeros(9, 4))


def test_tanh_by_way_of_the_sigmoid_is_within_its_stated_error():
    x = torch.linspace(-20, 20, 100_001)
    found = Tanh(x)(x, torch.empty_like(x)).double()
    assert (found - x.double().tanh()).abs().max() < 2e-7
    assert Tanh(x)(torch.zeros(1), torch.empty(1)).item() == 0.0
    exact = x.double()
    assert (Tanh(exact)(exact, torch.empty_like(exact)) - exact.tanh()).abs().max() < 4e-16


# 45 rows make two batches of 16 and a short one of 13.
FACTORS: Final = {
    "model": ["rnn:", "rnn:nonlinearity=relu:", "gru:", "lstm:"],
    "bidirectional": ["true", "false"],
    "layers": ["1", "2"],
    "read": ["all", "last"],
    "hidden": ["1", "5", "8"],
    "dropout": ["0", "0.3"],
    "optimizer": ["sgd", "sgd:momentum=0.9", "adam:eps=1e-4"],
    "clip": ["", "0.05"],
    "batch_size": ["16", "full"],
}
CASES: Final = pairwise(FACTORS, lambda case: True)  # noqa: ARG005


def settings_of(case: Case) -> dict[str, object]:
    keys = ":".join(f"{key}={case[key]}" for key in ("hidden", "layers", "bidirectional", "read", "dropout"))
    alike = {"dtype": "float64", "steps": 4, "lr": 0.03, "validation": 0, "test": 0}
    clip = {"clip_norm": float(case["clip"])} if case["clip"] else {}
    return {
        "data": "blobs:samples=45:std=3:features=7:classes=4",
        "model": case["model"] + keys,
        "optimizer": case["optimizer"],
        "batch_size": case["batch_size"],
        **alike,
        **clip,
    }


def largest_difference(native: Fitted, loop: Fitted) -> float:
    """Of any parameter, relative to its largest entry."""
    assert native.weights is not None
    assert loop.weights is not None
    return max(
        ((native.weights[name] - wanted).abs().max() / wanted.abs().max()).item()
        for name, wanted in loop.weights.items()
    )


def test_trained_networks_equal_the_plain_loop():
    runs = [run for i, case in enumerate(CASES) for run in runs_of(settings_of(case), seeds=[1, 2], name=str(i))]
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        # Four steps: rounding reaches 1e-14 here, a wrong term at least 1e-8.
        assert largest_difference(native[run.run_id], loop[run.run_id]) < 1e-12, run.settings.model
        assert native[run.run_id].record.scores.keys() == loop[run.run_id].record.scores.keys()


def test_a_stack_reads_the_states_that_the_layer_below_gives_step_by_step():
    """Two stacked kinds are PyTorch's num_layers=2."""
    layers = (
        Recurrent("lstm", inputs=2, hidden=3, steps=5, bidirectional=True),
        Recurrent("lstm", inputs=6, hidden=3, steps=5, bidirectional=True, channels_first=False),
    )
    ours = module_of(layers, torch.Generator()).double()
    both = nn.LSTM(2, 3, num_layers=2, batch_first=True, bidirectional=True).double()
    both.load_state_dict(
        {name[2:].replace("l0", f"l{name[0]}"): value for name, value in ours.state_dict().items()}, strict=True
    )
    x = drawn(4, 10, seed=0)
    series = x.unflatten(1, (2, 5)).transpose(1, 2)
    # The same operations in the same order.
    torch.testing.assert_close(ours(x), both(series)[0].flatten(1), rtol=1e-14, atol=1e-15)


def test_a_tile_is_smaller_where_more_is_kept():
    def tile_size(model: str) -> int:
        (run,) = runs_of({"data": "blobs:samples=500:features=40:classes=10", "model": model})
        return largest_tile_size(program_of(run, Shape("multiclass", (40,), 10, 300, 100, 100)))

    assert (
        tile_size("gru:hidden=6:bidirectional=true") == 8
    )  # measured: two tiles of 8 keep two cores busy with 16 runs
    sizes = [tile_size(f"lstm:hidden={hidden}") for hidden in (1, 4, 100, 400)]
    assert all(before >= after for before, after in neighbours(sizes))
