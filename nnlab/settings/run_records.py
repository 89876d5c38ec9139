"""A run, and its record when it is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nnlab.settings import RunSettings

Status = Literal["done", "diverged", "failed"]
TableCell = str | int | float | bool | None  # of any CSV file; None is an empty cell


@dataclass(frozen=True)
class Run:
    """One training to be done: a full set of settings and a seed.

    Attributes:
        run_id: hash of everything that decides the run's numbers.
        arm: the level of the varied factor, in its canonical spelling.
        seed: decides split, initial weights, order of the rows, dropout and noise.
    """

    run_id: str
    arm: str
    seed: int
    settings: RunSettings


@dataclass(frozen=True)
class RunRecord:
    """One training that is over.

    Attributes:
        run: the run.
        status: `diverged` is a result; `failed` is the machine's fault: the next command tries such a run again.
        diverged_step: first step, from 1, whose batch loss is not finite or exceeds 10^4 times the loss before training; or
            the last step of the first epoch that ends with a loss or parameter that is not finite.
        epochs: epochs begun.
        steps: steps taken.
        scores: `train_loss`, `batch_loss`, `val_loss`, `test_loss`, `constant_loss` and the task's metrics.
        curves: column -> one value for each epoch end, from epoch 0; rows end where a run diverges.
        engine: the engine that computed it.
        reason: why it failed, in words.
        layers: rows of layers.csv, from `epoch` on, where the layers were probed.
    """

    run: Run
    status: Status
    diverged_step: int | None
    epochs: int
    steps: int
    scores: Mapping[str, float]
    curves: Mapping[str, Sequence[float]]
    engine: str
    reason: str = ""
    layers: Sequence[Mapping[str, TableCell]] = ()
