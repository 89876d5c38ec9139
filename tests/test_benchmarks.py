"""The benchmarks' workloads are what they say: settings that nnlab accepts, and the multiplications that PyTorch counts."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.contestants import NNLAB, PEERS
from benchmarks.multiplications import PRODUCTS
from benchmarks.peers.nnlab_engine import experiment_of
from benchmarks.peers.rate_factors import rate_factors
from benchmarks.peers.torch_networks import NETWORKS
from benchmarks.readme import sections_of
from benchmarks.workloads import WORKLOADS, Workload

ROWS = 7
INPUTS = {"linear": 64, "mlp:hidden=32": 64, "mlp:hidden=16x16": 2}  # the others see MNIST-1D's 40 numbers


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=lambda workload: workload.key)
def test_the_command_plans_just_the_runs_that_the_peers_train(workload: Workload) -> None:
    planned = experiment_of(workload).runs
    named = [(str(run.settings.model), str(run.settings.init), run.settings.lr, run.seed) for run in planned]
    assert sorted(named) == sorted((run.model, run.init, run.lr, run.seed) for run in workload.runs)


@pytest.mark.parametrize("model", NETWORKS)
def test_multiplications_of_a_step_are_those_that_pytorch_counts(model: str) -> None:
    network, x = NETWORKS[model](), torch.zeros(ROWS, INPUTS.get(model, 40))
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        network(x)
    with FlopCounterMode(display=False) as step:
        network(x).sum().backward()
    # A multiplication and its addition are two operations to PyTorch.
    assert forward.get_total_flops() == 2 * ROWS * PRODUCTS[model].forward
    assert step.get_total_flops() == 2 * ROWS * PRODUCTS[model].step


def test_the_rate_factors_are_those_of_pytorchs_one_cycle() -> None:
    workload, num_rows = WORKLOADS["F"], 1079
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factors = rate_factors(workload, num_rows)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=len(factors), cycle_momentum=False)
    wanted = []
    for _ in factors:
        wanted.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step() if len(wanted) < len(factors) else None
    # The factors are float32.
    torch.testing.assert_close(torch.from_numpy(factors).double(), torch.tensor(wanted).double(), rtol=1e-6, atol=1e-9)


def test_every_target_names_a_contestant_of_its_workload() -> None:
    peers = {peer.name: peer for peer in PEERS}
    for workload in WORKLOADS.values():
        assert workload.key in NNLAB.runs
        for name in {*workload.targets, *workload.whole_targets} - {"limit"}:
            assert workload.key in peers[name].runs


def test_a_subset_is_taken_evenly_from_the_arms_of_the_first_seeds() -> None:
    some = WORKLOADS["A"].some_runs(32)
    assert {run.seed for run in some} == {0}
    assert [run.lr for run in some] == list(WORKLOADS["A"].learning_rates[::2])


def test_sections_of_a_page_are_found_by_heading() -> None:
    assert sections_of("# Title\n\n## A: one\n\ntext\n\n## B: two\n\nmore\n") == {"A: one": "text", "B: two": "more"}
