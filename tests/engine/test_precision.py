"""Mixed precision: weights, losses and updates in float32, the network in bfloat16 as PyTorch's autocast has it."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from problems import CPU, SOURCES, runs_of, trained
from test_own_modules import own
from torch import nn

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream
from nnlab.engine.choice import choice_of
from nnlab.engine.executors import Machine
from nnlab.engine.hooks import Hooks
from nnlab.engine.looped import starting_model
from nnlab.engine.modules import StreamedDropout
from nnlab.engine.outcomes import Fitted
from nnlab.engine.program import program_of
from nnlab.engine.starting import starting_weights
from nnlab.engine.vmapped import _BatchedDropout
from nnlab.experiments.training import Training
from nnlab.settings import ExperimentSettings
from nnlab.settings.run_records import Run

DIGITS: Final = {
    "data": "digits",
    "model": "mlp:hidden=32",
    "lr": 0.1,
    "batch_size": 100,
    "epochs": 3,
    "dtype": "mixed",
}
MODELS: Final = [
    "linear",
    "mlp:hidden=16x16:norm=batch",
    "mlp:hidden=16:norm=layer:dropout=0.3",
    "mlp:width=12:depth=3:residual=true",
    "conv1d:channels=4x4:norm=batch",
    "conv1d:channels=4:norm=group",
    "transformer:width=8:heads=2",
]
# What a module puts in a buffer's place is kept as it is by the loop; batched runs keep theirs in the buffer's own type.
TYPES: Final = {"vmap": {torch.float32}, "loop": {torch.float32, torch.bfloat16}}


def plain_loop(settings: dict[str, object]) -> tuple[list[float], dict[str, torch.Tensor]]:
    """The batch losses and the weights of a training script with autocast, as PyTorch's documentation writes it."""
    (run,) = runs_of(settings)
    train = SOURCES.parts(run.settings, run.seed).train
    x, y = torch.from_numpy(train.x).float(), torch.from_numpy(train.y).long()
    program = program_of(run, SOURCES.shape(run))
    model, order = starting_model(program, run, x), stream(run.seed, "order")
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=run.settings.lr), []
    for _ in range(program.epochs):
        for rows in torch.split(torch.randperm(len(x), generator=order), program.batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, {name: p.detach() for name, p in model.named_parameters()}


@pytest.mark.parametrize(("engine", "rtol"), [("loop", 1e-6), ("vmap", 2e-2)])
def test_it_is_what_a_training_script_with_autocast_computes(engine, rtol):
    (found,) = trained(runs_of(DIGITS), engine=engine).values()
    losses, weights = plain_loop(DIGITS)
    assert found.weights is not None
    assert found.record.curves["batch_loss"][1:] == pytest.approx(
        [sum(losses[i : i + 11]) / 11 for i in range(0, len(losses), 11)], rel=rtol
    )
    for name, wanted in weights.items():
        assert found.weights[name].dtype == torch.float32
        assert (found.weights[name] - wanted).abs().max() <= rtol * wanted.abs().max()


@pytest.mark.parametrize("engine", ["loop", "vmap"])
def test_the_network_computes_in_bfloat16_and_learns_as_in_float32(engine):
    mixed, exact = (
        trained(runs_of({**DIGITS, "dtype": dtype, "epochs": 8}), engine=engine)["|0.1|0"].record.curves["train_loss"]
        for dtype in ("mixed", "float32")
    )
    # bfloat16 keeps 8 bits, float32 24: apart by more than the rounding of the one, less than some roundings of the other.
    apart = [abs(a / b - 1) for a, b in zip(mixed, exact, strict=True)]
    assert 1e-5 < max(apart) < 0.02


@pytest.mark.parametrize("model", MODELS)
def test_the_catalogue_trains_in_mixed_precision_side_by_side(model):
    problem = {**DIGITS, "model": model, "steps": 5}
    runs = runs_of(problem, lrs=[0.03, 0.1], seeds=[0, 1])
    together, alone = (trained(runs, engine=engine) for engine in ("vmap", "loop"))
    for run_id, found in together.items():
        assert found.weights is not None
        assert alone[run_id].weights is not None
        assert found.record.status == "done"
        for name, wanted in alone[run_id].weights.items():
            if wanted.is_floating_point():
                assert found.weights[name].dtype == torch.float32
                assert (found.weights[name] - wanted).abs().max() <= 0.05 * wanted.abs().max().clamp_min(0.1)


def carried_out(runs: list[Run]) -> dict[str, Fitted]:
    """The finished runs, each by the engine that is found for it."""
    settings = runs[0].settings
    training = Training(runs, ExperimentSettings.from_values({"data": str(settings.data)}), SOURCES.dataset(settings))
    training.machine = Machine(CPU, 1)
    training.rehearse()
    finished: list[Fitted] = []
    training.carry_out(Hooks(finished.extend, keep_weights=True))
    return {fitted.record.run.run_id: fitted for fitted in finished}


@pytest.mark.parametrize(
    ("model", "engine"),
    [
        ("Plain:norm=true:dropout=0.2", "vmap"),
        ("RemembersHidden", "vmap"),
        ("Remembers", "vmap"),
        ("Branches", "loop"),
        ("InPlace", "loop"),
        ("OwnGradient", "loop"),
        ("Recurrent", "loop"),
    ],
)
def test_a_persons_own_module_learns_in_mixed_precision(model, engine):
    problem = {"data": "moons:samples=200", "model": own(model), "batch_size": 20, "epochs": 8, "dtype": "mixed"}
    for fitted in carried_out(runs_of(problem, lrs=[0.03, 0.1], seeds=[0, 1])).values():
        assert (fitted.record.status, fitted.record.engine) == ("done", engine)
        assert fitted.record.curves["train_loss"][-1] < fitted.record.curves["train_loss"][0]
        assert {value.dtype for value in (fitted.weights or {}).values() if value.is_floating_point()} <= TYPES[engine]


@pytest.mark.parametrize(
    "problem",
    [
        {"data": "linear_regression:samples=200:features=8", "model": own("OneNumber")},
        {"data": "linear_regression:samples=200", "model": "mlp:hidden=8", "loss": "huber"},
        {
            "data": "moons:samples=200",
            "model": "mlp:hidden=8",
            "loss": "focal",
            "early_stop": 2,
            "average": "ema:decay=0.5",
        },
        {
            "data": "moons:samples=200",
            "model": "mlp:hidden=8",
            "optimizer": "adam",
            "clip_norm": 0.5,
            "schedule": "cosine",
        },
        {"data": "blobs:samples=200", "model": "lstm:hidden=3"},
        {"data": "blobs:samples=200", "model": "autoencoder:hidden=8:code=2"},
    ],
    ids=lambda problem: problem["model"].rpartition("/")[2] + " " + str(problem.get("loss", "")),
)
def test_every_task_learns_in_mixed_precision(problem):
    for fitted in carried_out(
        runs_of({"epochs": 8, "batch_size": 20, "dtype": "mixed", **problem}, lrs=[0.02])
    ).values():
        assert fitted.record.status == "done"
        assert fitted.record.curves["train_loss"][-1] < fitted.record.curves["train_loss"][0]


def test_dropout_of_bfloat16_scales_by_no_rounded_number():
    """In bfloat16 1 / (1 - 0.1) is 0.16 % too small; rounding each product alone errs to both sides."""
    all_kept = StreamedDropout(0.1, torch.Generator())
    part = _BatchedDropout(all_kept, lambda x, p: torch.full_like(x, 1 / (1 - p)), 1)
    x = torch.linspace(1, 2, 1024).bfloat16().view(1, 32, 32)
    dropped = torch.vmap(part)(x)
    assert dropped.dtype == torch.bfloat16
    assert (dropped.double() / x.double()).mean().item() == pytest.approx(1 / 0.9, rel=3e-4)


@pytest.mark.parametrize("arms", [("sgd", own("nesterov")), (own("nesterov"), "sgd")], ids=["own last", "own first"])
def test_each_arm_has_the_engine_that_its_optimizer_allows(arms):
    problem = {"data": "moons:samples=70", "model": "mlp:hidden=5", "epochs": 2, "dtype": "mixed"}
    runs = [run for arm in arms for run in runs_of({**problem, "optimizer": arm}, name=arm)]
    engines = {run_id.partition("|")[0]: fitted.record.engine for run_id, fitted in carried_out(runs).items()}
    assert engines == {"sgd": "vmap", own("nesterov"): "loop"}


def test_what_fails_under_autocast_alone_is_told_as_such():
    problem = {"data": "moons:samples=70", "model": own("OnlyInFloat32"), "epochs": 1}
    carried_out(runs_of(problem))
    with pytest.raises(UsageError, match=r"OnlyInFloat32, given training rows.*under autocast in bfloat16"):
        carried_out(runs_of({**problem, "dtype": "mixed"}))


@pytest.mark.parametrize(
    ("model", "engine", "said"),
    [
        ("mlp:hidden=8", "vmap", "engine vmap: torch.func batches mlp."),
        ("gru:hidden=3", "loop", "engine loop, run by run: vmap can't batch gru: torch.func has no rule"),
    ],
)
def test_auto_takes_the_fastest_engine_that_knows_autocast(model, engine, said):
    problem = {**DIGITS, "model": model}
    runs = runs_of(problem, seeds=[0, 1])
    assert {run.settings.engine for run in runs} == {"auto"}
    program = program_of(runs[0], SOURCES.shape(runs[0]))
    x = torch.from_numpy(SOURCES.parts(runs[0].settings, 0).train.x)
    choice = choice_of(program, [starting_weights(program, run, x) for run in runs], x)
    assert choice.engine == engine
    assert choice.reason.startswith(said)


def test_the_native_engine_does_not_take_it():
    with pytest.raises(
        UsageError, match="dtype mixed is PyTorch's autocast, which engine native does not use"
    ):
        runs_of({**DIGITS, "engine": "native"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_it_learns_as_on_the_cpu():
    here, there = (
        trained(runs_of({**DIGITS, "epochs": 8}), engine="vmap", device=torch.device(name))["|0.1|0"]
        for name in ("cpu", "cuda")
    )
    assert there.record.curves["train_loss"] == pytest.approx(here.record.curves["train_loss"], rel=0.05)
