"""The plain PyTorch loop as the objective of an Optuna study over the grid."""

from __future__ import annotations

import optuna
import torch

from benchmarks.contestant import Trained, answer, spent_on, task_of_command_line
from benchmarks.peers.torch_loop import train
from benchmarks.workloads import BenchRun


def main() -> None:
    """A trial a run."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = task_of_command_line()
    (model,) = task.workload.models
    trained: list[Trained] = []

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", min(rates), max(rates), log=True)
        seed = trial.suggest_int("seed", 0, max(seeds))
        trained.append(train(task, BenchRun(model, "torch_default", lr, seed), task.workload.epochs))
        return trained[-1].train_loss

    rates, seeds = sorted({run.lr for run in task.runs}), sorted({run.seed for run in task.runs})
    study = optuna.create_study(sampler=optuna.samplers.GridSampler({"lr": rates, "seed": seeds}))
    answer(spent_on(lambda: study.optimize(objective, n_trials=len(task.runs))), trained, note="1 process, 1 thread")


if __name__ == "__main__":
    main()
