"""The outcome of one run, gathered while it is trained, and the record made of it: the same for every engine."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from nnlab.catalog.metrics import METRICS
from nnlab.engine.program import Program
from nnlab.networks.layers import ignores_inputs
from nnlab.settings.run_records import Run, RunRecord, Status

DIVERGED_FACTOR: Final = 1e4  # a run has diverged if a batch loss exceeds this many times the loss before training


@dataclass
class Outcome:
    """The outcome of one run so far."""

    run: Run
    curves: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    batch_loss_sum: float = 0.0
    steps: int = 0
    status: Status = "done"
    diverged_step: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] | None = None
    layers: list[Mapping[str, str | int | float | None]] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch of the least validation loss (training loss if there is none), the first of equals."""
        losses = self.curves.get("val_loss", self.curves["train_loss"])
        return losses.index(min(losses))

    @property
    def is_best_now(self) -> bool:
        """True if the last epoch is the best."""
        return self.best_epoch == len(self.curves["train_loss"]) - 1

    def has_stalled(self, patience: int | None) -> bool:
        """True if `patience` epochs have gone by without a better loss."""
        return patience is not None and len(self.curves["train_loss"]) - 1 - self.best_epoch >= patience

    def count_steps(self, losses: Sequence[float]) -> float:
        """Count steps with these batch losses; return their mean, NaN if there are none."""
        self.steps += len(losses)
        total = math.fsum(losses)
        self.batch_loss_sum += total
        return total / len(losses) if losses else math.nan


@dataclass(frozen=True)
class Fitted:
    """A finished run: its record and, if asked for, its parameters on the CPU."""

    record: RunRecord
    weights: Mapping[str, Tensor] | None


def note_epoch(
    outcomes: Sequence[Outcome],
    epoch: int,
    losses_RT: Sequence[Sequence[float]],
    columns: Mapping[str, Sequence[float]],
    finite: Sequence[bool],
) -> list[int]:
    """Append a row to the curves of each run, or mark it diverged; return the positions of the runs that go on.

    With thousands of runs this is a good part of an epoch's time, so it goes column by column.

    Args:
        outcomes: of the runs.
        epoch: the epoch that ends here; 0 before any step.
        losses_RT: of each run's batches in the epoch, each before its step.
        columns: `train_loss` and the measurements on validation, a number for each run.
        finite: all parameters of the run are finite.
    """
    living: list[int] = []
    for position, outcome in enumerate(outcomes):
        losses, loss = losses_RT[position], columns["train_loss"][position]
        start = outcome.curves["train_loss"][0] if epoch else loss
        limit = DIVERGED_FACTOR * abs(start) if start else math.inf
        # Also false if a loss is NaN; the quickest way to ask.
        if all(map(limit.__ge__, losses)) and finite[position] and math.isfinite(loss):
            living.append(position)
        else:
            last = max(len(losses) - 1, 0)
            bad = next((i for i, loss in enumerate(losses) if not loss <= limit), last)
            outcome.status, outcome.diverged_step = "diverged", outcome.steps + bad + 1
            outcome.steps = outcome.diverged_step
    chosen = [outcomes[position] for position in living]
    means = [outcome.count_steps(losses_RT[position]) for position, outcome in zip(living, chosen, strict=True)]
    table: dict[str, Sequence[float]] = {"epoch": [epoch] * len(living), "step": [outcome.steps for outcome in chosen]}
    table |= {"batch_loss": means}
    table |= {name: [values[position] for position in living] for name, values in columns.items()}
    for name, values in table.items():
        for outcome, value in zip(chosen, values, strict=True):
            outcome.curves[name].append(value)
    return living


def record_of(outcome: Outcome, program: Program, *, engine: str) -> RunRecord:
    """The record of a run that is over: the last row of its curves, or, if it diverged, infinite losses and NaN for metrics."""
    steps_per_epoch = program.steps_per_epoch
    measured = outcome.scores | {"constant_loss": _loss_to_beat(outcome, program)}
    scores = {"constant_loss": measured["constant_loss"]}
    if outcome.status == "diverged":
        shape = program.shape
        parts = ["val"] * (shape.num_val > 0) + ["test"] * (shape.num_test > 0)
        metrics = [name for name, metric in METRICS.items() if metric.applies(shape.task, program.link)]
        scores |= dict.fromkeys(["train_loss", "batch_loss", *(f"{part}_loss" for part in parts)], math.inf)
        scores |= dict.fromkeys([f"{part}_{name}" for part in parts for name in metrics], math.nan)
    else:
        at = -1 if program.early_stop is None else outcome.best_epoch
        last = {name: values[at] for name, values in outcome.curves.items() if name not in {"epoch", "step", "lr"}}
        scores |= last | measured | {"batch_loss": outcome.batch_loss_sum / max(outcome.steps, 1)}
    return RunRecord(
        run=outcome.run,
        status=outcome.status,
        diverged_step=outcome.diverged_step,
        epochs=-(-outcome.steps // steps_per_epoch),
        steps=outcome.steps,
        scores=scores,
        curves=dict(outcome.curves),
        engine=engine,
        layers=outcome.layers,
    )


def _loss_to_beat(outcome: Outcome, program: Program) -> float:
    """The loss that learning must beat: the best constant's, or, if the network is itself a constant, its loss at the start."""
    if ignores_inputs(program.layers):
        return outcome.curves.get("train_loss", [math.inf])[0]
    return outcome.scores["constant_loss"]
