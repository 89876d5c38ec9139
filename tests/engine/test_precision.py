"""Mixed precision: weights, losses and updates in float32, the network in bfloat16 as PyTorch's autocast has it."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from problems import SOURCES, runs_of, trained
from torch import nn

from nnlab.core.errors import UsageError
from nnlab.core.rng import stream
from nnlab.engine.choice import chosen
from nnlab.engine.looped import starting_model
from nnlab.engine.plan import program_of
from nnlab.engine.starting import starting_weights

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
    choice = chosen(program, [starting_weights(program, run, x) for run in runs], x)
    assert choice.engine == engine
    assert choice.reason.startswith(said)


def test_the_native_engine_does_not_take_it():
    with pytest.raises(
        UsageError, match="--dtype mixed is PyTorch's autocast, which --engine native does not pass through"
    ):
        runs_of({**DIGITS, "engine": "native"})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda_it_learns_as_on_the_cpu():
    here, there = (
        trained(runs_of({**DIGITS, "epochs": 8}), engine="vmap", device=torch.device(name))["|0.1|0"]
        for name in ("cpu", "cuda")
    )
    assert there.record.curves["train_loss"] == pytest.approx(here.record.curves["train_loss"], rel=0.05)
