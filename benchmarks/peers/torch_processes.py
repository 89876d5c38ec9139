"""The plain PyTorch loop in two processes, by joblib: the usual way to use two cores."""

from __future__ import annotations

import torch
from joblib import Parallel, delayed

from benchmarks.contestant import Task, Trained, answer, spent_on, task_of_command_line
from benchmarks.peers.torch_loop import train
from benchmarks.workloads import BenchRun

PROCESSES = 2


def train_alone(task: Task, run: BenchRun, epochs: int) -> Trained:
    """One run on one thread."""
    torch.set_num_threads(1)
    return train(task, run, epochs)


def main() -> None:
    """Train the runs, two at a time."""
    task = task_of_command_line()
    trained: list[Trained] = []
    with Parallel(n_jobs=PROCESSES) as parallel:
        warm_up = spent_on(lambda: parallel(delayed(train_alone)(task, run, 1) for run in task.runs[:PROCESSES]))
        took = spent_on(
            lambda: trained.extend(parallel(delayed(train_alone)(task, run, task.workload.epochs) for run in task.runs))
        )
    answer(took, trained, prepare_s=warm_up.wall_s, note=f"{PROCESSES} processes, 1 thread each")


if __name__ == "__main__":
    main()
