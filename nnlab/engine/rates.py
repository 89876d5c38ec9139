"""The learning rate of every run at every step, and the momentum if a schedule cycles it.

Shapes: T steps, R runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnlab.catalog.rate_tables import Plateau, lr_table, momentum_table, plateau, warmup_factors
from nnlab.engine.program import Program
from nnlab.settings.run_records import Run


class StepRates:
    """The learning rate of every run at every step: tables made by PyTorch's own schedulers, or schedulers that listen."""

    def __init__(self, program: Program, runs: tuple[Run, ...]) -> None:
        self.listening: list[Plateau] = []
        self.warmups: list[Tensor] = []
        tables: list[Tensor] = []
        momenta: list[Tensor] = []
        length = {"epochs": program.epochs, "steps": program.steps, "steps_per_epoch": program.steps_per_epoch}
        for run in runs:
            schedule, lr, warmup = run.settings.schedule, run.settings.lr, run.settings.warmup
            if program.listens:
                self.listening.append(plateau(schedule, lr=lr))
                self.warmups.append(warmup_factors(program.steps, warmup))
                continue
            tables.append(lr_table(schedule, lr=lr, warmup=warmup, **length))
            table = momentum_table(schedule, lr=lr, **length)
            momenta += [] if table is None else [table]
        self.table_TR = torch.stack(tables, 1) if tables else None
        self.momentum_TR = torch.stack(momenta, 1) if momenta else None

    def of_steps(self, first: int, num_steps: int, rows: list[int]) -> Tensor:
        """Rates [num_steps, R] of the runs `rows` from step `first` (counted from 0) on."""
        steps = slice(first, first + num_steps)
        if self.table_TR is None:
            return torch.stack([self.warmups[i][steps] * self.listening[i].lr for i in rows], 1)
        return self.table_TR[steps, rows]

    def momenta_of_steps(self, first: int, num_steps: int, rows: list[int]) -> Tensor | None:
        """Momenta [num_steps, R], likewise; None if the schedule does not cycle the momentum."""
        return None if self.momentum_TR is None else self.momentum_TR[first : first + num_steps, rows]

    def listen(self, rows: list[int], losses: list[float], epoch: int) -> None:
        """Give the schedulers that listen each run's loss at the end of the epoch."""
        if self.listening and epoch:
            for row, loss in zip(rows, losses, strict=True):
                self.listening[row].step(loss)

    def next_rates(self, rows: list[int], steps_done: int) -> list[float]:
        """The rate of each run's next step; at the end, that of the last step."""
        if self.table_TR is None:
            warmups = [self.warmups[row] for row in rows]
            at = min(steps_done, len(warmups[0]) - 1)
            return [float(warmup[at]) * self.listening[row].lr for row, warmup in zip(rows, warmups, strict=True)]
        at = min(steps_done, len(self.table_TR) - 1)
        found: list[float] = self.table_TR[at, rows].tolist()
        return found
