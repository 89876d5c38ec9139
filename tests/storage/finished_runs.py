"""Runs and records for the tests of what is stored."""

from __future__ import annotations

import math
from typing import Any

from nnlab.settings import RunSettings
from nnlab.settings.run_records import Run, RunRecord

CURVES = {
    "epoch": [0, 1, 2],
    "step": [0, 32, 64],
    "batch_loss": [math.nan, 2.1, 0.1 + 0.2],
    "train_loss": [2.3, 2.0, 1 / 3],
    "val_loss": [2.4, 2.2, 1e-300],
    "val_accuracy": [0.1, 0.2, 0.5],
    "lr": [0.1, 0.1, 0.1],
}
SCORES = {
    "constant_loss": 2.302585092994046,
    "batch_loss": 1.2,
    "train_loss": 1 / 3,
    "val_loss": 1e-300,
    "test_loss": 0.7,
    "val_accuracy": 0.5,
    "test_accuracy": 0.4,
}
DIVERGED = {
    "constant_loss": 2.3,
    "train_loss": math.inf,
    "batch_loss": math.inf,
    "val_loss": math.inf,
    "val_accuracy": math.nan,
}


def run(run_id: str = "a1", *, arm: str = "0.1", seed: int = 0, **settings: object) -> Run:
    return Run(run_id, arm, seed, RunSettings.from_values({"loss": "cross_entropy", **settings}))


def record(of: Run | None = None, **changed: Any) -> RunRecord:
    given: dict[str, Any] = {
        "status": "done",
        "diverged_step": None,
        "epochs": 2,
        "steps": 64,
        "scores": SCORES,
        "curves": CURVES,
        "engine": "native",
    }
    return RunRecord(run=of or run(), **{**given, **changed})


def failed(of: Run) -> RunRecord:
    return record(of, status="failed", epochs=0, steps=0, scores={}, curves={}, reason="out of memory")


def diverged(of: Run) -> RunRecord:
    return record(of, status="diverged", diverged_step=1, epochs=1, steps=1, scores=DIVERGED, curves={})
