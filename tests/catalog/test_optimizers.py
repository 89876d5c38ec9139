"""Every update rule compared with one torch.optim optimizer per run; its bits beside other runs; the values it rejects."""

from __future__ import annotations

import math

import pytest
import torch

from nnlab.catalog.entry import keys
from nnlab.catalog.optimizers import OPTIMIZERS, Optimizer, clip_norm_, optimizer_values, sgd
from nnlab.core.errors import UsageError
from nnlab.core.spec import parse_spec

SETTINGS = [
    "sgd",
    "sgd:momentum=0.9",
    "sgd:momentum=0.9:nesterov=true",
    "sgd:momentum=0.8:dampening=0.3:weight_decay=0.01",
    "sgd:weight_decay=0.1",
    "adam",
    "adam:betas=0.5x0.9:eps=1e-3",
    "adam:amsgrad=true:weight_decay=0.05",
    "adamw",
    "adamw:betas=0.8x0.95:weight_decay=0.3:amsgrad=true",
    "rmsprop",
    "rmsprop:centered=true:momentum=0.5",
    "rmsprop:alpha=0.9:eps=1e-4:weight_decay=0.1:momentum=0.9",
    "adagrad",
    "adagrad:lr_decay=0.1:weight_decay=0.1:initial_accumulator_value=0.5",
    "adadelta",
    "adadelta:rho=0.5:eps=1e-3:weight_decay=0.1",
    "nadam",
    "nadam:betas=0.7x0.9:momentum_decay=0.1:weight_decay=0.1",
    "nadam:weight_decay=0.1:decoupled_weight_decay=true",
    "radam",
    "radam:betas=0.7x0.9:weight_decay=0.1",
    "radam:betas=0.7x0.5:weight_decay=0.1:decoupled_weight_decay=true",
    "lion",
    "lion:betas=0.7x0.8:weight_decay=0.1",
]
LRS = (0.001, 0.01, 0.1, 0.03)
STEPS = 50
SHAPE = (3, 5)


def padded(values):
    """A copy whose runs start at multiples of 16 elements, as the engine lays parameters out."""
    size = math.prod(values.shape[1:])
    strides = torch.empty(values.shape[1:]).stride()
    block = -(-size // 16) * 16
    room = torch.zeros(values.shape[0] * block, dtype=values.dtype)
    return room.as_strided(values.shape, (block, *strides)).copy_(values)


def gradients(dtype, *, num_runs=len(LRS)):
    """Gradients of each step. Any tensors would do; these grow and shrink, so that averages matter."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(STEPS, num_runs, *SHAPE, generator=generator, dtype=torch.float64)
    return (noise * torch.linspace(0.1, 2.0, STEPS, dtype=torch.float64).view(-1, 1, 1, 1).sin()).to(dtype)


def start(dtype, *, num_runs=len(LRS)):
    generator = torch.Generator().manual_seed(8)
    return torch.randn(num_runs, *SHAPE, generator=generator, dtype=torch.float64).to(dtype)


def together(text, *, dtype=torch.float64, runs=range(len(LRS)), per_run=()):
    """Parameters [T, R, 3, 5] after every step; the keys in `per_run` are given as tensors."""
    spec = parse_spec(text, what="--optimizer")
    values = optimizer_values(spec)
    shape = (len(runs), 1, 1)
    for key in per_run:
        value = values[key]
        given = tuple(torch.full(shape, v, dtype=torch.float64) for v in (value if key == "betas" else (value,)))
        values[key] = given if key == "betas" else given[0]
    p = padded(start(dtype)[list(runs)])
    lr = torch.tensor([LRS[run] for run in runs], dtype=dtype).view(shape)
    state, trace = {}, []
    for step, g in enumerate(gradients(dtype)[:, list(runs)], start=1):
        OPTIMIZERS[spec.name].function(p, padded(g), state, step, lr, **values)
        trace.append(p.clone())
    return torch.stack(trace), p, state


def alone(text, run, *, dtype=torch.float64):
    """The same run's parameters [T, 3, 5], by torch.optim."""
    spec = parse_spec(text, what="--optimizer")
    p = torch.nn.Parameter(start(dtype)[run].clone())
    optimizer = OPTIMIZERS[spec.name].reference_optimizer([p], lr=LRS[run], values=optimizer_values(spec))
    trace = []
    for g in gradients(dtype)[:, run]:
        p.grad = g.clone()
        optimizer.step()
        trace.append(p.detach().clone())
    return torch.stack(trace)


@pytest.mark.parametrize("text", SETTINGS)
def test_a_batch_of_runs_takes_the_steps_of_one_torch_optimizer_a_run(text):
    trace, _, _ = together(text)
    expected = torch.stack([alone(text, run) for run in range(len(LRS))], dim=1)
    # 50 steps of a few roundings each, in another order than PyTorch's; entries near zero cancel, hence atol.
    torch.testing.assert_close(trace, expected, rtol=1e-12, atol=1e-14)


def numeric_keys(text):
    """The keys that an axis may vary: numbers other than 0, which would leave their term out."""
    spec = parse_spec(text, what="--optimizer")
    accepted, values = keys(OPTIMIZERS[spec.name].function), optimizer_values(spec)
    return [name for name, key in accepted.items() if key.kind != "Flag" and values[name] != 0.0]


@pytest.mark.parametrize("text", [text for text in SETTINGS if numeric_keys(text)])
def test_hyperparameters_given_per_run_take_the_same_steps(text):
    trace, _, _ = together(text, per_run=numeric_keys(text))
    expected, _, _ = together(text)
    # beta^step by repeated squaring rounds differently from pow: an ulp or two per step. RAdam's rho is a small
    # difference of numbers near 2 / (1 - beta) = 2000, which magnifies the ulp.
    torch.testing.assert_close(trace, expected, rtol=1e-9 if text.startswith("radam") else 1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("text", SETTINGS)
def test_a_run_has_the_same_bits_in_any_company(text, dtype):
    for per_run in ((), numeric_keys(text)):
        trace, _, _ = together(text, dtype=dtype, per_run=per_run)
        for run in range(len(LRS)):
            by_itself, _, _ = together(text, dtype=dtype, runs=[run], per_run=per_run)
            assert torch.equal(by_itself[:, 0], trace[:, run])
        turned, _, _ = together(text, dtype=dtype, runs=[3, 0], per_run=per_run)
        assert torch.equal(turned, trace[:, [3, 0]])


@pytest.mark.parametrize("key", ["momentum", "weight_decay"])
def test_a_zero_given_per_run_changes_no_bit_of_plain_sgd(key):
    trace, _, _ = together("sgd", dtype=torch.float32, per_run=[key])
    assert torch.equal(trace, together("sgd", dtype=torch.float32)[0])


def test_each_run_follows_its_own_hyperparameters():
    decays = (0.0, 0.1, 0.2, 0.3)
    p, lr = start(torch.float64), torch.tensor(LRS, dtype=torch.float64).view(-1, 1, 1)
    state = {}
    for step, g in enumerate(gradients(torch.float64), start=1):
        weight_decay = torch.tensor(decays, dtype=torch.float64).view(-1, 1, 1)
        OPTIMIZERS["adamw"].function(p, g.clone(), state, step, lr, weight_decay=weight_decay)
    for run, weight_decay in enumerate(decays):
        torch.testing.assert_close(p[run], alone(f"adamw:weight_decay={weight_decay}", run)[-1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("text", SETTINGS)
def test_state_is_laid_out_as_its_parameter_and_named_in_the_table(text):
    _, p, state = together(text)
    large = {name for name, tensor in state.items() if tensor.shape == p.shape}
    assert large <= set(OPTIMIZERS[parse_spec(text, what="").name].state)
    assert all(state[name].stride() == p.stride() for name in large)
    assert all(tensor.shape[0] == p.shape[0] for tensor in state.values())


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if row.torch_class])
def test_keys_and_defaults_are_pytorchs_own(name):
    p = torch.nn.Parameter(torch.zeros(1))
    defaults = getattr(torch.optim, OPTIMIZERS[name].torch_class)([p]).defaults
    ours = {key.name: key.default for key in keys(OPTIMIZERS[name].function).values()}
    assert ours == {key: defaults[key] for key in ours}
    switches = {"lr", "maximize", "foreach", "capturable", "differentiable", "fused"}
    if name not in ("adam", "adamw"):  # whose decoupled_weight_decay tells the two apart
        assert defaults.keys() - ours.keys() <= switches


def test_a_row_without_a_reference_or_with_two_can_not_be_made():
    for references in ({}, {"torch_class": "SGD", "reference": torch.optim.SGD}):
        with pytest.raises(AssertionError, match="one reference"):
            Optimizer(sgd, **references)


def test_every_number_among_the_keys_can_differ_by_run():
    for row in OPTIMIZERS.values():
        kinds = {key.kind for key in keys(row.function).values()}
        assert kinds <= {"Fraction", "NonNegative", "Numbers", "Flag"}


def test_one_sgd_step_is_the_rate_times_the_gradient():
    p, g = start(torch.float64), gradients(torch.float64)[0]
    lr = torch.tensor(LRS, dtype=torch.float64).view(-1, 1, 1)
    expected = p - lr * g
    OPTIMIZERS["sgd"].function(p, g, {}, 1, lr)
    # One rounding apart if product and sum are fused.
    torch.testing.assert_close(p, expected, rtol=1e-15, atol=1e-16)


def test_a_diverged_run_leaves_its_neighbours_alone():
    for name, row in OPTIMIZERS.items():
        p, calm = start(torch.float32), start(torch.float32)
        lr = torch.full((4, 1, 1), 0.01)
        states = {}, {}
        for step, g in enumerate(gradients(torch.float32)[:5], start=1):
            poisoned = g.clone()
            poisoned[2] = math.nan
            row.function(p, poisoned, states[0], step, lr)
            row.function(calm, g.clone(), states[1], step, lr)
        assert torch.equal(p[[0, 1, 3]], calm[[0, 1, 3]]), name


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_of_zero_moves_nothing(name):
    p = start(torch.float64)
    OPTIMIZERS[name].function(p, gradients(torch.float64)[3], {}, 1, torch.zeros(4, 1, 1, dtype=torch.float64))
    assert torch.equal(p, start(torch.float64))


def test_clipping_is_pytorchs_own_run_by_run():
    limits = (0.1, 1.0, 1e6, math.inf)
    generator = torch.Generator().manual_seed(1)
    grads = [torch.randn(4, *shape, generator=generator, dtype=torch.float64) for shape in ((3, 5), (3,), (2, 2))]
    clipped = [padded(g) for g in grads]
    clip_norm_(clipped, torch.tensor(limits, dtype=torch.float64))
    for run, limit in enumerate(limits):
        parameters = [torch.nn.Parameter(torch.zeros_like(g[run])) for g in grads]
        for parameter, g in zip(parameters, grads, strict=True):
            parameter.grad = g[run].clone()
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        for parameter, g in zip(parameters, clipped, strict=True):
            torch.testing.assert_close(g[run], parameter.grad, rtol=1e-14, atol=0.0)  # a sum in another order


def test_clipping_gives_a_run_the_same_bits_in_any_company():
    grads = [padded(torch.randn(7, *shape, generator=torch.Generator().manual_seed(2))) for shape in ((9, 7), (1,))]
    together_, limit = [padded(g) for g in grads], torch.full((7,), 0.5)
    clip_norm_(together_, limit)
    for run in range(7):
        by_itself = [padded(g[run : run + 1]) for g in grads]
        clip_norm_(by_itself, limit[:1])
        assert all(torch.equal(a[0], b[run]) for a, b in zip(by_itself, together_, strict=True))


def grows(text, lr, curvature):
    """True if 4000 steps on curvature w^2 / 2 end further from 0 than 2000 do."""
    values = optimizer_values(parse_spec(text, what="--optimizer"))
    p, state, sizes = torch.ones(1, 1, dtype=torch.float64), {}, []
    for step in range(1, 4001):
        OPTIMIZERS["sgd"].function(p, curvature * p, state, step, torch.full((1, 1), lr, dtype=torch.float64), **values)
        sizes.append(p.abs().item())
    return max(sizes[3000:]) > max(sizes[1000:2000])


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("sgd", 2 / 4.0),
        ("sgd:weight_decay=0.5", 2 / 4.5),
        ("sgd:momentum=0.9", 2 * 1.9 / 4.0),
        ("sgd:momentum=0.9:nesterov=true", 2 * 1.9 / (2.8 * 4.0)),
        ("sgd:momentum=0.9:dampening=0.5", 2 * 1.9 / (0.5 * 4.0)),
    ],
)
def test_sgd_diverges_on_a_quadratic_just_above_its_limit_and_not_below(text, limit):
    found = OPTIMIZERS["sgd"].stability_limit(optimizer_values(parse_spec(text, what="--optimizer")), 4.0)
    assert found == pytest.approx(limit, rel=1e-15)
    assert grows(text, 1.01 * found, 4.0)
    assert not grows(text, 0.99 * found, 4.0)


def test_no_limit_is_named_where_theory_names_none():
    assert [name for name, row in OPTIMIZERS.items() if row.stability_limit is not None] == ["sgd"]
    limit = OPTIMIZERS["sgd"].stability_limit
    assert limit(optimizer_values(parse_spec("sgd", what="--optimizer")), -1.0) is None
    damped = optimizer_values(parse_spec("sgd:momentum=0.5:dampening=1", what="--optimizer"))
    assert limit(damped, 4.0) == math.inf
    assert not grows("sgd:momentum=0.5:dampening=1", 1e3, 4.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("adm", "Did you mean 'adam'"),
        ("sgd:momentun=0.9", "Did you mean 'momentum'"),
        ("sgd:momentum=1.5", "a number from 0 to below 1"),
        ("sgd:nesterov=true", "nesterov needs a momentum above 0 and no dampening"),
        ("sgd:momentum=0.9:dampening=0.1:nesterov=true", "nesterov needs a momentum above 0 and no dampening"),
        ("adam:betas=0.9", "two numbers from 0 to below 1, such as 0.9x0.999, not '0.9'"),
        ("adam:betas=0.9x1", "two numbers from 0 to below 1"),
    ],
)
def test_an_optimizer_that_cannot_be_meant_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        optimizer_values(parse_spec(text, what="--optimizer"))
