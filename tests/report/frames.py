"""Small frames as the files hold them, for tables."""

from __future__ import annotations

import io
import math

import pandas as pd

from nnlab.report.judgement import Judging
from nnlab.storage.csv_files import print_csv, read_csv

JUDGING = Judging(
    factor="lr",
    metric="val_loss",
    basis="by mean val_loss over seeds",
    threshold_loss=1.4812,
    title="mnist1d, mlp:hidden=100x100, sgd, 10 epochs",
)
NOTE = "2/lambda_max at the start: 0.93 (median over seeds)."
_INF, _NAN = math.inf, math.nan
_COLUMNS = [
    "lr",
    "n_diverged",
    "n_collapsed",
    "val_loss_mean",
    "val_loss_ci_low",
    "val_loss_ci_high",
    "test_accuracy_mean",
    "test_accuracy_ci_low",
    "test_accuracy_ci_high",
    "train_loss_median",
    "steps_to_threshold_median",
    "n_reached",
    "verdict",
    "reason",
    "best",
    "tied",
]
_ROWS = [
    (1e-3, 0, 0, 2.2931, 2.2900, 2.2962, 0.1412, 0.1361, 0.1464, 2.2899, _INF, 0, "too small", "reaches 1 %", 0, 0),
    (0.0316227766017, 0, 0, 1.5127, 1.4801, 1.5453, 0.4493, 0.4401, 0.4586, 1.4432, 300.0, 8, "too small", "", 0, 0),
    (0.1, 0, 0, 1.0712, 1.0586, 1.0838, 0.6291, 0.6202, 0.6379, 0.8211, 120.0, 10, "good", "least loss", 1, 1),
    (0.316227766017, 0, 0, 1.0894, 1.0655, 1.1133, 0.6322, 0.6231, 0.6412, 0.7934, 80.0, 10, "good", "", 0, 1),
    (1.0, 2, 1, _INF, _NAN, _NAN, _NAN, _NAN, _NAN, 1.7012, 160.0, 4, "edge", "diverged in 2 of 10 seeds", 0, 0),
    (10.0, 10, 0, _INF, _NAN, _NAN, _NAN, _NAN, _NAN, _INF, _INF, 0, "diverges", "diverged in 10 of 10", 0, 0),
]


def summary() -> pd.DataFrame:
    """A sweep of six rates over ten seeds."""
    frame = pd.DataFrame(_ROWS, columns=_COLUMNS).assign(n=10, n_failed=0)
    frame = frame.astype({"best": bool, "tied": bool})
    return frame.assign(arm=[repr(lr) for lr in frame["lr"]])


def through_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as it comes back from its file."""
    text = io.StringIO()
    print_csv(text, frame)
    text.seek(0)
    return read_csv(text)


def runs() -> pd.DataFrame:
    """Three runs, one of them diverged and one failed."""
    return pd.DataFrame(
        {
            "run_id": ["a1", "b2", "c3"],
            "arm": ["0.1", "0.1", "10.0"],
            "seed": [0, 1, 0],
            "status": ["done", "failed", "diverged"],
            "diverged_step": [None, None, 17],
            "epochs": [10, 0, 1],
            "steps": [320, 0, 17],
            "train_loss": [0.8213, _NAN, _INF],
            "val_loss": [1.0712345, _NAN, _INF],
            "test_accuracy": [0.63125, _NAN, _NAN],
            "steps_to_threshold": [120.0, _NAN, _INF],
            "engine": ["native"] * 3,
        }
    )


def curves(num_runs: int, num_epochs: int = 10) -> pd.DataFrame:
    """Losses that fall as 1 / (1 + epoch), run by run."""
    rows = [
        {"run_id": f"r{run}", "arm": "0.1", "seed": run, "epoch": epoch, "step": 32 * epoch, "lr": 0.1}
        | {"batch_loss": _NAN if epoch == 0 else 2 / epoch, "train_loss": 2 / (1 + epoch), "val_loss": 3 / (1 + epoch)}
        for run in range(num_runs)
        for epoch in range(num_epochs + 1)
    ]
    return pd.DataFrame(rows)
