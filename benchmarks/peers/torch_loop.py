"""A plain PyTorch loop, one run at a time, as a training script would be written."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR

from benchmarks.contestant import Task, Trained, answer, spent_on, task_of_command_line
from benchmarks.peers.layer_probe import probe
from benchmarks.peers.torch_networks import network
from benchmarks.workloads import PARTS, BenchRun, Workload

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
loss_function = nn.CrossEntropyLoss()


def evaluate(model: nn.Module, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Mean loss and accuracy on a whole part."""
    with torch.no_grad():
        scores = model(x)
        return loss_function(scores, y).item(), (scores.argmax(1) == y).float().mean().item()


def train(task: Task, run: BenchRun, epochs: int) -> Trained:
    """One run."""
    workload = task.workload
    parts = {name: tuple(map(torch.from_numpy, task.part(name, run.seed))) for name in PARTS}
    x, y = parts["train"]
    model = network(run.model, run.init, run.seed)
    if workload.command == "compare-init":
        probe(model, x, y, lr=run.lr)
    optimizer = OPTIMIZERS[workload.optimizer](model.parameters(), lr=run.lr)
    scheduler = one_cycle(workload, optimizer, run.lr, len(x)) if workload.schedule == "one_cycle" else None
    for epoch in range(epochs + 1):
        for rows in torch.randperm(len(x)).split(workload.batch_size) if epoch else ():
            optimizer.zero_grad()
            loss_function(model(x[rows]), y[rows]).backward()
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
        train_loss, _ = evaluate(model, x, y)
        evaluate(model, *parts["val"])
        if not math.isfinite(train_loss):
            break
    return Trained(run, train_loss, evaluate(model, *parts["test"])[1])


def one_cycle(workload: Workload, optimizer: torch.optim.Optimizer, lr: float, num_rows: int) -> OneCycleLR:
    """PyTorch's scheduler over all steps of the run."""
    steps_per_epoch = -(-num_rows // workload.batch_size)
    return OneCycleLR(
        optimizer, max_lr=lr, epochs=workload.epochs, steps_per_epoch=steps_per_epoch, cycle_momentum=False
    )


def main() -> None:
    """Train the runs one after another."""
    torch.set_num_threads(1)  # In nets of this size it costs more to fork than a second core brings.
    task = task_of_command_line()
    trained: list[Trained] = []
    took = spent_on(lambda: trained.extend(train(task, run, task.workload.epochs) for run in task.runs))
    answer(took, trained, note="1 thread")


if __name__ == "__main__":
    main()
