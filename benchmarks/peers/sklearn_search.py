"""scikit-learn's MLPClassifier under GridSearchCV, two processes.

It starts from Glorot's weights, is evaluated at the end alone, and has neither AdamW nor one-cycle: F is Adam at a constant rate.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

from benchmarks.contestant import Task, Trained, answer, spent_on, task_of_command_line
from benchmarks.workloads import BenchRun

HIDDEN: Mapping[str, tuple[int, ...]] = {"mlp:hidden=100x100": (100, 100), "linear": (), "mlp:hidden=32": (32,)}


def search(task: Task, model: str, seed: int, rates: list[float], epochs: int) -> list[Trained]:
    """All rates of one model on one seed's parts."""
    workload = task.workload
    (x, y), (x_val, y_val) = task.part("train", seed), task.part("val", seed)
    classifier = MLPClassifier(
        HIDDEN[model],
        solver="sgd" if workload.optimizer == "sgd" else "adam",
        alpha=0.0,
        momentum=0.0,
        nesterovs_momentum=False,
        batch_size=workload.batch_size,
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs + 1,
        random_state=seed,
    )
    parts = PredefinedSplit(np.r_[np.full(len(y), -1), np.zeros(len(y_val))])
    found = GridSearchCV(
        classifier,
        {"learning_rate_init": rates},
        cv=parts,
        n_jobs=2,
        refit=False,
        scoring="neg_log_loss",
        return_train_score=True,
    ).fit(np.r_[x, x_val], np.r_[y, y_val])
    losses = -found.cv_results_["mean_train_score"]
    return [
        Trained(BenchRun(model, "torch_default", lr, seed), loss, float("nan"))
        for lr, loss in zip(rates, losses.tolist(), strict=True)
    ]


def main() -> None:
    """A search for each model and seed that the runs have."""
    # The last epoch is meant to be the last, here and in the worker processes.
    warnings.simplefilter("ignore", ConvergenceWarning)
    task = task_of_command_line()
    grids: dict[tuple[str, int], list[float]] = {}
    for run in task.runs:
        grids.setdefault((run.model, run.seed), []).append(run.lr)
    (model, seed), rates = next(iter(grids.items()))
    warm_up = spent_on(lambda: search(task, model, seed, rates[:2], 1))
    trained: list[Trained] = []

    def work() -> None:
        for (model, seed), rates in grids.items():
            trained.extend(search(task, model, seed, rates, task.workload.epochs))

    answer(spent_on(work), trained, prepare_s=warm_up.wall_s, note="2 processes")


if __name__ == "__main__":
    main()
