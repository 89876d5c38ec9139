"""The plain PyTorch loop as a function trainable of Ray Tune over the grid, a core a trial."""

from __future__ import annotations

import os
import tempfile

import ray
import torch
from ray import tune

from benchmarks.contestant import Task, Trained, answer, spent_on, task_of_command_line
from benchmarks.peers.torch_loop import train
from benchmarks.workloads import BenchRun


def trial(config: dict[str, float], task: Task) -> None:
    """One run."""
    torch.set_num_threads(1)
    (model,) = task.workload.models
    done = train(task, BenchRun(model, "torch_default", config["lr"], int(config["seed"])), task.workload.epochs)
    tune.report({"train_loss": done.train_loss, "test_accuracy": done.test_accuracy})


def search(task: Task, folder: str) -> list[Trained]:
    """A trial a run."""
    grid = {name: tune.grid_search(sorted({getattr(run, name) for run in task.runs})) for name in ("lr", "seed")}
    found = tune.Tuner(
        tune.with_resources(tune.with_parameters(trial, task=task), {"cpu": 1}),
        param_space=grid,
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    (model,) = task.workload.models
    return [
        Trained(
            BenchRun(model, "torch_default", each.config["lr"], each.config["seed"]),
            each.metrics["train_loss"],
            each.metrics["test_accuracy"],
        )
        for each in found
    ]


def main() -> None:
    """Start Ray, and search."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0"}
    task = task_of_command_line()
    trained: list[Trained] = []
    with tempfile.TemporaryDirectory() as folder:
        start = spent_on(lambda: ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False))
        took = spent_on(lambda: trained.extend(search(task, folder)))
        ray.shutdown()
    answer(took, trained, prepare_s=start.wall_s, note="2 trials at a time")


if __name__ == "__main__":
    main()
