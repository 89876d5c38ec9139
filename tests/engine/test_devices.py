"""Other types and devices: bfloat16 trains on the CPU, and an accelerator computes what the CPU computes."""

from __future__ import annotations

from typing import Final

import pytest
import torch
from problems import CALM, SOURCES, Problem, numbers, runs_of, trained

from nnlab.core.errors import UsageError
from nnlab.engine.device import deterministic_algorithms, device_named, device_names
from nnlab.engine.executors import Machine, execute
from nnlab.engine.hooks import Hooks
from nnlab.engine.outcomes import Fitted

LEARNABLE: Final = {"data": "moons:samples=300", "model": "mlp:hidden=16x16", "lr": 0.3, "epochs": 30, "batch_size": 20}


@pytest.mark.parametrize("optimizer", ["sgd", "sgd:momentum=0.9", "adam"])
def test_bfloat16_trains_on_the_cpu(optimizer):
    lr = 0.03 if optimizer == "adam" else 0.1
    (fitted,) = trained(runs_of({**LEARNABLE, "optimizer": optimizer, "dtype": "bfloat16"}, lrs=[lr])).values()
    assert fitted.weights is not None
    assert {value.dtype for value in fitted.weights.values()} == {torch.bfloat16}
    losses = fitted.record.curves["train_loss"]
    # From ln 2 to a tenth of it takes more digits than bfloat16's three; to a half it does not.
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bfloat16_starts_where_the_wider_types_start(dtype):
    narrow = trained(runs_of({**LEARNABLE, "dtype": "bfloat16", "epochs": 1}))["|0.3|0"]
    wide = trained(runs_of({**LEARNABLE, "dtype": dtype, "epochs": 1}))["|0.3|0"]
    # bfloat16 keeps 8 bits: a part in 256 of each weight.
    assert narrow.record.curves["train_loss"][0] == pytest.approx(wide.record.curves["train_loss"][0], rel=0.02)


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match=r"'cuda:77' is not there.*cpu"):
        device_named("cuda:77", "float32")
    assert device_named("cpu", "float64") == torch.device("cpu")
    assert device_named("auto", "float64").type in {name.partition(":")[0] for name in device_names()}


def test_deterministic_runs_have_the_same_numbers_here_and_leave_pytorchs_setting_as_it_was():
    runs = runs_of({**LEARNABLE, "epochs": 2}, lrs=[0.1, 0.3])
    asked: list[bool] = []
    finished: list[Fitted] = []
    machine = Machine(torch.device("cpu"), 1, deterministic=True)
    told = lambda _: asked.append(torch.are_deterministic_algorithms_enabled())  # noqa: E731
    execute(runs, SOURCES, machine, Hooks(finished.extend, on_epoch=told))
    assert set(asked) == {True}
    assert not torch.are_deterministic_algorithms_enabled()
    usual = trained(runs, keep_weights=False)
    assert [numbers(fitted) for fitted in finished] == [numbers(usual[run.run_id]) for run in runs]


def test_what_has_no_deterministic_algorithm_is_refused_where_it_was_asked_for():
    def put():
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))

    put()
    refused = pytest.raises(UsageError, match=r"deterministic: put_ does not have .* implementation\. Leave it out")
    with refused, deterministic_algorithms(True):
        put()
    with deterministic_algorithms(False):
        put()
    with pytest.raises(RuntimeError, match="shapes"), deterministic_algorithms(True):
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    assert not torch.are_deterministic_algorithms_enabled()


ACCELERATORS: Final = [name for name in ("cuda", "mps") if name in device_names()]


@pytest.mark.gpu
@pytest.mark.skipif(not ACCELERATORS, reason="no CUDA device and no Apple GPU here")
@pytest.mark.parametrize("problem", CALM, ids=str)
def test_an_accelerator_computes_what_the_loop_on_the_cpu_computes(problem: Problem):
    device = torch.device(ACCELERATORS[0])
    dtype = "float64" if device.type == "cuda" else "float32"
    # On the CPU 1e-10 in float64, definitions.md; single precision and its faster products keep three digits.
    rtol = 1e-9 if dtype == "float64" else 1e-3
    runs = runs_of({**problem.settings, "dtype": dtype}, seeds=[0, 1])
    here, there = trained(runs, engine="loop"), trained(runs, device=device)
    for run in runs:
        one, other = here[run.run_id].record, there[run.run_id].record
        assert one.status == other.status
        for name in ("train_loss", "batch_loss", "lr"):
            assert other.curves[name] == pytest.approx(one.curves[name], rel=rtol, nan_ok=True), name


@pytest.mark.gpu
@pytest.mark.skipif(not ACCELERATORS, reason="no CUDA device and no Apple GPU here")
def test_a_run_that_diverges_on_an_accelerator_leaves_the_others_alone():
    device = torch.device(ACCELERATORS[0])
    settings = {"data": "moons:samples=200", "model": "mlp:hidden=8x8", "epochs": 3}
    beside = trained(runs_of(settings, lrs=[0.1, 1e30]), device=device)
    alone = trained(runs_of(settings, lrs=[0.1]), device=device)
    assert beside["|1e+30|0"].record.status == "diverged"
    # Bits are promised on the CPU only.
    found, wanted = beside["|0.1|0"].record.curves["train_loss"], alone["|0.1|0"].record.curves["train_loss"]
    assert found == pytest.approx(wanted, rel=1e-5)
