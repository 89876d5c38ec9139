"""The rate, and where a schedule cycles it the momentum, of every run at every step.

Shapes: T steps, R runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnlab.catalog.rate_tables import Plateau, lr_table, momentum_table, plateau, warmup_factors
from nnlab.catalog.schedules import SCHEDULES
from nnlab.core.records import Run
from nnlab.engine.plan import Program


class Rates:
    """The learning rate of every run at every step: tables made by PyTorch's own schedulers, or schedulers that listen."""

    def __init__(self, program: Program, runs: tuple[Run, ...]) -> None:
        self.listening: list[Plateau] = []
        self.warmups: list[Tensor] = []
        self.tables: list[Tensor] = []
        self.momenta: list[Tensor] = []
        length = {"epochs": program.epochs, "steps": program.steps, "steps_per_epoch": program.steps_per_epoch}
        for run in runs:
            schedule, lr, warmup = run.settings.schedule, run.settings.lr, run.settings.warmup
            if SCHEDULES[schedule.name].listens:
                self.listening.append(plateau(schedule, lr=lr))
                self.warmups.append(warmup_factors(program.steps, warmup))
                continue
            self.tables.append(lr_table(schedule, lr=lr, warmup=warmup, **length))
            momenta = momentum_table(schedule, lr=lr, **length)
            self.momenta += [] if momenta is None else [momenta]

    def of_steps(self, first: int, num_steps: int, rows: list[int]) -> Tensor:
        """Rates [num_steps, R] of the runs `rows` from step `first` (counted from 0) on."""
        steps = slice(first, first + num_steps)
        if self.listening:
            each = [self.warmups[i][steps] * self.listening[i].lr for i in rows]
        else:
            each = [self.tables[i][steps] for i in rows]
        return torch.stack(each, 1)

    def momenta_of_steps(self, first: int, num_steps: int, rows: list[int]) -> Tensor | None:
        """The same of the momentum, where the schedule cycles it."""
        if not self.momenta:
            return None
        return torch.stack([self.momenta[i][first : first + num_steps] for i in rows], 1)

    def listen(self, row: int, loss: float, epoch: int) -> None:
        """Tell a scheduler that listens how the epoch went."""
        if self.listening and epoch:
            self.listening[row].step(loss)

    def next_rate(self, row: int, steps_done: int) -> float:
        """The rate of the run's next step; at the end, the last step's."""
        table = self.warmups[row] if self.listening else self.tables[row]
        value = float(table[min(steps_done, len(table) - 1)])
        return value * self.listening[row].lr if self.listening else value
