"""The batched engine against its oracle, a plain PyTorch loop, in float64: every pair of ingredients meets.

The oracle shares starting weights, order of the rows and dropout masks with the engine, and none of its arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pytest
import torch
from problems import CALM, SOURCES, Case, Problem, pairwise, runs_of, trained
from torch import Tensor, nn

from nnlab.catalog.activations import ACTIVATIONS
from nnlab.catalog.losses import LOSSES
from nnlab.catalog.optimizers import OPTIMIZERS
from nnlab.catalog.schedules import SCHEDULES
from nnlab.engine.looped import module_of
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import program_of
from nnlab.engine.starting import starting_weights

# Small, so that hundreds of programs train in seconds; 45 rows make two batches of 16 and a short one of 13.
DATA: Final = {
    "regression": "linear_regression:samples=45:features=3",
    "counts": "counts:samples=45:features=3",
    "binary": "moons:samples=45",
    "multiclass": "blobs:samples=45:std=3:features=3:classes=4",
    "reconstruction": "blobs:samples=45:std=3:features=4",
}
DATA_WITH_LOSS: Final = [
    *(f"regression {name}" for name, loss in LOSSES.items() if "regression" in loss.tasks and not loss.raw_targets),
    *(f"counts {name}" for name, loss in LOSSES.items() if loss.raw_targets),
    *(
        f"{task} {name}"
        for task in ("binary", "multiclass", "reconstruction")
        for name, loss in LOSSES.items()
        if task in loss.tasks
    ),
    "regression huber:delta=0.3",
    "multiclass cross_entropy:label_smoothing=0.1",
    "multiclass hinge:margin=0.5",
]
MODELS: Final = [
    "linear",
    "mlp:hidden=7x5",
    "mlp:width=6:depth=5",
    "mlp:width=6:depth=3:residual=true",
    "mlp:hidden=8x8:dropout=0.3",
    "mlp:hidden=7x5:norm=layer",
    # A shift before a batch norm has gradient 0, and its rounding is all that sign or Adam would see: no biases there, and
    # one norm, not two with the identity between.
    "mlp:hidden=9:norm=batch:bias=false",
    "mlp:hidden=6x6x4:bias=false",
    "mlp:width=6:depth=3:residual=true:norm=layer:dropout=0.2",
    "mlp:width=6:depth=3:residual=true:norm=batch:dropout=0.2:bias=false",
    "neuron",
    "autoencoder:hidden=7:code=2",
]
ACTIVATIONS_USED: Final = [
    *ACTIVATIONS,
    "leaky_relu:negative_slope=0.2",
    "elu:alpha=0.7",
    "softplus:beta=2:threshold=1",
    "gelu:approximate=tanh",
    "hardtanh:min_val=-0.5:max_val=2",
]
# Rules that divide by the gradient's size have eps = 1e-4 here: by the default 1e-8 they blow a gradient that is zero but
# for rounding (1e-17, where rows cancel) up to 1e-9. The defaults stand in a test of their own.
OPTIMIZERS_USED: Final = [
    "sgd",
    "sgd:momentum=0.9",
    "sgd:momentum=0.9:nesterov=true",
    "sgd:momentum=0.8:dampening=0.3",
    "adam:eps=1e-4",
    "adam:betas=0.8x0.95:eps=1e-3:amsgrad=true",
    "adamw:weight_decay=0.1:betas=0.7x0.99:eps=1e-4",
    "rmsprop:eps=1e-4",
    "rmsprop:alpha=0.9:momentum=0.7:centered=true:eps=1e-3",
    "adagrad:lr_decay=0.1:initial_accumulator_value=0.1",
    "adadelta:rho=0.8:eps=1e-4",
    "nadam:momentum_decay=0.01:decoupled_weight_decay=true:eps=1e-4",
    "radam",  # not yet rectified in three steps
    "radam:betas=0.9x0.5:decoupled_weight_decay=true:eps=1e-4",
    "lion:betas=0.8x0.9",
]
CYCLED: Final = "one_cycle:cycle_momentum=true:base_momentum=0.5:total_steps=9"
CYCLES_WELL: Final = ("", "sgd", "adam", "adamw", "nadam", "radam", "lion")
SCHEDULES_USED: Final = [
    *(name for name in SCHEDULES if name not in ("lambda", "multiplicative")),
    "lambda:lr_lambda=0.5**epoch",
    "multiplicative:lr_lambda=0.9",
    "reduce_on_plateau:patience=0:threshold=0.9",
    CYCLED,
]
EXTRAS: Final = [
    "",
    "clip_norm 0.05",
    "weight_decay 0.03",
    "class_weights balanced",
    "label_noise 0.2",
    "outliers 0.1",
    "warmup 2",
]
FACTORS: Final = {
    "data loss": DATA_WITH_LOSS,
    "optimizer": OPTIMIZERS_USED,
    "schedule": SCHEDULES_USED,
    "activation": ACTIVATIONS_USED,
    "model": MODELS,
    "extra": EXTRAS,
    "batch_size": ["16", "full", "45"],
    "init": ["torch_default", "kaiming_normal:gain=auto", "orthogonal", "normal:std=0.5", "lsuv"],
}


def goes_together(case: Case) -> bool:
    data, _, loss = case.get("data loss", "").partition(" ")
    optimizer, extra = case.get("optimizer", ""), case.get("extra", "")
    if extra in ("class_weights balanced", "label_noise 0.2") and data in ("regression", "counts", "reconstruction"):
        return False
    if extra == "outliers 0.1" and data in ("binary", "multiclass", "counts", "reconstruction"):
        return False
    if case.get("model", "").startswith("autoencoder"):
        spoilt = extra in ("class_weights balanced", "label_noise 0.2", "outliers 0.1")
        if spoilt or data not in ("", "reconstruction"):
            return False
    if extra == "weight_decay 0.03" and "weight_decay" in optimizer:
        return False
    if extra == "class_weights balanced" and optimizer.startswith("lion") and loss.partition(":")[0] in ("hinge", "l1"):
        return False  # balanced classes cancel: lion would take the sign of the rounding
    return case.get("schedule") != CYCLED or optimizer.partition(":")[0] in CYCLES_WELL


CASES: Final = pairwise(FACTORS, goes_together)
AT_ONCE: Final = 60
BATCHES_OF_CASES: Final = [CASES[i : i + AT_ONCE] for i in range(0, len(CASES), AT_ONCE)]


def settings_of(case: Case) -> dict[str, object]:
    """Three steps of the case: few enough that no rounding grows."""
    data, _, loss = case["data loss"].partition(" ")
    name, _, value = case["extra"].partition(" ")
    same = {key: case[key] for key in ("optimizer", "schedule", "activation", "model", "batch_size", "init")}
    alike = {"dtype": "float64", "steps": 3, "lr": 0.03, "validation": 0, "test": 0}
    task = "reconstruction" if data == "reconstruction" else "auto"
    return {"data": DATA[data], "task": task, "loss": loss, **alike, **same, **({name: value} if name else {})}


def relative(found: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest entry."""
    scale = wanted.abs().max().item()
    return (found - wanted).abs().max().item() / (scale or 1.0)


def differences(native: Fitted, loop: Fitted) -> dict[str, float]:
    """Relative difference of every parameter, every loss of the curves, and the constant predictor's."""
    assert native.record.status == loop.record.status == "done"
    assert native.weights is not None
    assert loop.weights is not None
    found = {}
    for name, value in native.weights.items():
        # A running mean may be 0 but for rounding; its scale is that of normalised units.
        atol = 1.0 if "running" in name else 0.0
        wanted = loop.weights[name]
        found[name] = (value - wanted).abs().max().item() / max(wanted.abs().max().item(), atol, 1e-300)
    for name, values in loop.record.curves.items():
        pairs = [(a, b) for a, b in zip(native.record.curves[name], values, strict=True) if b == b]
        found[name] = max((abs(a - b) / (abs(b) or 1.0) for a, b in pairs), default=0.0)
    return found


@pytest.mark.parametrize("cases", BATCHES_OF_CASES, ids=[f"cases from {i}" for i in range(0, len(CASES), AT_ONCE)])
def test_three_steps_of_every_pair_of_ingredients_equal_the_plain_loop(cases):
    runs = [run for i, case in enumerate(cases) for run in runs_of(settings_of(case), seeds=[1], name=str(i))]
    native, loop = trained(runs), trained(runs, engine="loop")
    for run, case in zip(runs, cases, strict=True):
        worst = max(differences(native[run.run_id], loop[run.run_id]).items(), key=lambda item: item[1])
        # Three steps of a few products each: rounding reaches 2e-14 here, a wrong term at least 1e-8.
        assert worst[1] < 1e-12, f"{worst} in {case}"


def test_every_pair_of_ingredients_that_go_together_is_among_the_cases():
    for one, other in [("optimizer", "schedule"), ("activation", "model"), ("data loss", "optimizer")]:
        met = {(case[one], case[other]) for case in CASES}
        assert met == {(a, b) for a in FACTORS[one] for b in FACTORS[other] if goes_together({one: a, other: b})}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_at_its_defaults_follows_the_loop_for_twelve_steps(optimizer):
    settings = {
        "data": "moons:samples=150",
        "model": "mlp:hidden=6x5",
        "activation": "tanh",
        "dtype": "float64",
        "lr": 1e-3,
        "batch_size": 33,
        "epochs": 3,
        "optimizer": optimizer,
    }
    runs = runs_of(settings, seeds=[3], lrs=[1e-3, 0.01])
    native, loop = trained(runs), trained(runs, engine="loop")
    # No gradient of this problem cancels, so eps = 1e-8 magnifies nothing.
    assert max(max(differences(native[run.run_id], loop[run.run_id]).values()) for run in runs) < 1e-11


# Wide enough for the rule that takes all of a run's parameters in one pass (nnlab/engine/updating.py).
@pytest.mark.parametrize(
    "optimizer", ["adam", "adam:weight_decay=0.01:betas=0.8x0.99", "adamw", "adamw:weight_decay=0.3:eps=1e-6"]
)
def test_adam_on_a_network_of_many_weights_follows_the_loop_while_a_run_leaves(optimizer):
    settings = {
        "data": "blobs:samples=300:features=30:classes=5:std=8",
        "model": "mlp:hidden=90x60",
        "activation": "tanh",
        "dtype": "float64",
        "batch_size": 64,
        "epochs": 3,
        "early_stop": 1,
        "optimizer": optimizer,
    }
    runs = runs_of(settings, seeds=[3, 4], lrs=[1e-4, 3.0, 1e-3])
    native, loop = trained(runs), trained(runs, engine="loop")
    assert {len(each.record.curves["epoch"]) for each in loop.values()} >= {2, 4}
    assert (
        max(max(differences(native[run.run_id], loop[run.run_id]).values()) for run in runs if run.settings.lr < 1)
        < 1e-9
    )


@pytest.mark.parametrize("problem", CALM, ids=str)
def test_whole_trajectories_of_calm_problems_equal_the_plain_loop(problem: Problem):
    runs = runs_of({"dtype": "float64", **problem.settings}, seeds=[0, 1])
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        one, other = native[run.run_id], loop[run.run_id]
        # definitions.md: a loop disturbed by one unit in the last place stays within 1e-10 on such problems.
        assert max(differences(one, other).values()) < 1e-10
        assert one.record.scores.keys() == other.record.scores.keys()
        for name, value in other.record.scores.items():
            assert one.record.scores[name] == pytest.approx(value, rel=1e-10, nan_ok=True), name


def by_hand(settings: Mapping[str, object], seed: int) -> dict[str, Tensor]:
    """W - lr dE/dW with all training rows, dE/dW by autograd on PyTorch's modules and PyTorch's own loss."""
    (run,) = runs_of(settings, seeds=[seed])
    program, parts = program_of(run, SOURCES.shape(run)), SOURCES.parts(run.settings, seed)
    model = module_of(program.layers, torch.Generator()).double()
    model.load_state_dict(starting_weights(program, run, torch.from_numpy(parts.train.x)), strict=False)
    x, y = torch.from_numpy(parts.train.x), torch.from_numpy(parts.train.y)
    error = nn.functional.cross_entropy(model(x), y)
    names, weights = zip(*model.named_parameters(), strict=True)
    slopes = torch.autograd.grad(error, weights, materialize_grads=True)
    return {name: w - run.settings.lr * slope for name, w, slope in zip(names, weights, slopes, strict=True)}


CLASSIFIERS: Final = [model for model in MODELS if "dropout" not in model and "autoencoder" not in model]


@pytest.mark.parametrize("model", CLASSIFIERS)
@pytest.mark.parametrize("momentum", ["", ":momentum=0.9"], ids=["fused", "not fused"])
def test_one_sgd_step_is_w_minus_lr_times_the_gradient_computed_by_hand(model, momentum):
    """Claim L1 of the textbook. Momentum's first buffer is the gradient, so its first step is the same one."""
    settings = {
        "data": DATA["multiclass"],
        "model": model,
        "activation": "tanh",
        "dtype": "float64",
        "lr": 0.3,
        "steps": 1,
        "batch_size": "full",
        "optimizer": f"sgd{momentum}",
    }
    (fitted,) = trained(runs_of(settings, seeds=[2])).values()
    assert fitted.weights is not None
    for name, wanted in by_hand(settings, 2).items():
        # Both round a sum of 27 rows once or twice: a few units in the last place.
        assert relative(fitted.weights[name], wanted) < 1e-14, name


def test_clipping_follows_the_loop_where_adam_adds_nothing_to_the_denominator():
    """eps=0 divides the padding's zeros by zero; the norm that clips must not hear of it."""
    settings = {
        "data": DATA["binary"],
        "model": "mlp:hidden=7x5",
        "activation": "tanh",
        "dtype": "float64",
        "lr": 1e-3,
        "steps": 5,
        "optimizer": "adam:eps=0",
        "clip_norm": 0.01,
    }
    runs = runs_of(settings)
    native, loop = trained(runs), trained(runs, engine="loop")
    assert max(differences(native[runs[0].run_id], loop[runs[0].run_id]).values()) < 1e-10


def test_runs_whose_schedule_cycles_momentum_and_others_that_do_not_follow_the_loop_side_by_side():
    base = {"data": DATA["binary"], "model": "mlp:hidden=7x5", "activation": "tanh", "dtype": "float64", "epochs": 3}
    schedules = ["none", CYCLED, "cosine", "one_cycle:cycle_momentum=false", "cyclic:cycle_momentum=true"]
    runs = [run for name in schedules for run in runs_of({**base, "schedule": name}, name=name)]
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        assert max(differences(native[run.run_id], loop[run.run_id]).values()) < 1e-11, run.run_id


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "mse"])
def test_balanced_class_weights_make_the_loss_that_pytorch_weighs(loss):
    """The weighted mean over an uneven batch, held to the loop, which divides by the batch's own weights."""
    settings = {
        "data": "blobs:samples=90:std=4:classes=3",
        "model": "linear",
        "loss": loss,
        "class_weights": "balanced",
        "label_noise": 0.3,
        "dtype": "float64",
        "batch_size": 7,
        "epochs": 2,
    }
    runs = runs_of(settings, seeds=[0, 1, 2])
    native, loop = trained(runs), trained(runs, engine="loop")
    assert max(max(differences(native[run.run_id], loop[run.run_id]).values()) for run in runs) < 1e-11


def test_the_runs_of_one_tile_may_differ_in_every_number_and_each_follows_the_loop():
    """Rate, seed, init, schedule, warm-up, momentum, weight decay and clipping are axes of one program."""
    base = {"data": DATA["multiclass"], "model": "mlp:hidden=9", "activation": "tanh", "dtype": "float64", "epochs": 3}
    variants = [
        {"optimizer": "sgd:momentum=0.9:weight_decay=0.01", "clip_norm": 1.0},
        {"optimizer": "sgd:momentum=0.5:weight_decay=0.1", "clip_norm": 0.1, "schedule": "cosine"},
        {"optimizer": "sgd:momentum=0.1:weight_decay=0.001", "clip_norm": 9.0, "init": "orthogonal", "warmup": 4},
    ]
    runs = [
        run
        for i, variant in enumerate(variants)
        for run in runs_of({**base, **variant}, seeds=[0, 1], lrs=[0.01, 0.1], name=str(i))
    ]
    programs = {program_of(run, SOURCES.shape(run)) for run in runs}
    assert len(programs) == 1
    native, loop = trained(runs), trained(runs, engine="loop")
    for run in runs:
        assert max(differences(native[run.run_id], loop[run.run_id]).values()) < 1e-11, run.run_id


def test_the_stored_order_is_kept_where_nothing_is_shuffled():
    settings = {"data": DATA["binary"], "model": "linear", "dtype": "float64", "shuffle": False, "batch_size": 10}
    runs = runs_of({**settings, "epochs": 3}, seeds=[0, 1])
    native, loop = trained(runs), trained(runs, engine="loop")
    assert max(max(differences(native[run.run_id], loop[run.run_id]).values()) for run in runs) < 1e-12
