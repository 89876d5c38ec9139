"""What is gathered of one run while it is trained, and the record that is made of it: the same for every engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from torch import Tensor

from nnlab.catalog.layers import ignores_inputs
from nnlab.catalog.metrics import METRICS
from nnlab.core.records import Run, RunRecord, Status
from nnlab.engine.plan import Program

DIVERGED_FACTOR: Final = 1e4  # a batch loss above this many times the loss before training is a run gone


@dataclass
class Outcome:
    """What is gathered of one run while it is trained."""

    run: Run
    curves: dict[str, list[float]] = field(default_factory=dict)
    batch_loss_sum: float = 0.0
    steps: int = 0
    status: Status = "done"
    diverged_step: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] | None = None
    layers: list[Mapping[str, str | int | float | None]] = field(default_factory=list)

    @property
    def best_epoch(self) -> int:
        """The epoch of the least validation loss (training loss where there is none), the first of equals."""
        losses = self.curves.get("val_loss", self.curves["train_loss"])
        return losses.index(min(losses))

    @property
    def is_best_now(self) -> bool:
        return self.best_epoch == len(self.curves["train_loss"]) - 1

    def has_stalled(self, patience: int | None) -> bool:
        """Whether `patience` epochs have gone by without a better loss."""
        return patience is not None and len(self.curves["train_loss"]) - 1 - self.best_epoch >= patience

    def add_row(self, row: Mapping[str, float]) -> None:
        for column, value in row.items():
            self.curves.setdefault(column, []).append(value)


@dataclass(frozen=True)
class Fitted:
    """A finished run: its record and, where asked for, its parameters on the CPU."""

    record: RunRecord
    weights: Mapping[str, Tensor] | None


def note(outcome: Outcome, epoch: int, losses: list[float], row: Mapping[str, float], *, finite: bool) -> bool:
    """Add a row to a run's curves, or mark it diverged: whether it lives on.

    Args:
        outcome: what is known of the run.
        epoch: the epoch that ends here; 0 before any step.
        losses: of the epoch's batches, each before its step.
        row: `train_loss` and what was measured on validation.
        finite: all parameters are.
    """
    start = outcome.curves["train_loss"][0] if epoch else row["train_loss"]
    limit = DIVERGED_FACTOR * abs(start) if start else math.inf
    bad = None
    if not all(
        map(limit.__ge__, losses)
    ):  # also where a loss is NaN; for runs by the thousand, the quickest way to ask
        bad = next(i for i, loss in enumerate(losses) if not loss <= limit)
    if bad is None and not (finite and math.isfinite(row["train_loss"])):
        bad = max(len(losses) - 1, 0)
    if bad is not None:
        outcome.status, outcome.diverged_step = "diverged", outcome.steps + bad + 1
        outcome.steps = outcome.diverged_step
        return False
    outcome.steps += len(losses)
    total = math.fsum(losses)
    outcome.batch_loss_sum += total
    mean = total / len(losses) if losses else math.nan
    outcome.add_row({"epoch": epoch, "step": outcome.steps, "batch_loss": mean, **row})
    return True


def record_of(outcome: Outcome, program: Program, *, engine: str) -> RunRecord:
    """The record of a run that is over: last row of its curves, or infinite losses and metrics of NaN where it diverged."""
    steps_per_epoch = program.steps_per_epoch
    measured = outcome.scores | {"constant_loss": _to_beat(outcome, program)}
    scores = {"constant_loss": measured["constant_loss"]}
    if outcome.status == "diverged":
        shape = program.shape
        parts = ["val"] * (shape.num_val > 0) + ["test"] * (shape.num_test > 0)
        metrics = [name for name, metric in METRICS.items() if metric.applies(shape.task, program.link)]
        scores |= dict.fromkeys(["train_loss", "batch_loss", *(f"{part}_loss" for part in parts)], math.inf)
        scores |= dict.fromkeys([f"{part}_{name}" for part in parts for name in metrics], math.nan)
    else:
        at = -1 if program.settings.early_stop is None else outcome.best_epoch
        last = {name: values[at] for name, values in outcome.curves.items() if name not in {"epoch", "step", "lr"}}
        scores |= last | measured | {"batch_loss": outcome.batch_loss_sum / max(outcome.steps, 1)}
    return RunRecord(
        run=outcome.run,
        status=outcome.status,
        diverged_step=outcome.diverged_step,
        epochs=-(-outcome.steps // steps_per_epoch),
        steps=outcome.steps,
        scores=scores,
        curves=outcome.curves,
        engine=engine,
        layers=outcome.layers,
    )


def _to_beat(outcome: Outcome, program: Program) -> float:
    """What learning must beat: the best constant's loss; of a network that is a constant itself, the loss it starts with."""
    if ignores_inputs(program.layers):
        return outcome.curves.get("train_loss", [math.inf])[0]
    return outcome.scores["constant_loss"]
