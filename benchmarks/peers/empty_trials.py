"""The cost of a trial without training: `python -m benchmarks.peers.empty_trials TUNER TRIALS`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping

import numpy as np

from benchmarks.contestant import spent_on


def optuna(num_trials: int, _folder: str) -> Callable[[], object]:
    """A study in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return lambda: study.optimize(lambda trial: trial.suggest_float("lr", 1e-3, 1, log=True), n_trials=num_trials)


def ray_tune(num_trials: int, folder: str) -> Callable[[], object]:
    """Function trainables, two at a time."""
    import ray
    from ray import tune

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

    def trial(config: dict[str, float]) -> None:
        tune.report({"loss": config["lr"]})

    grid = {"lr": tune.grid_search(np.geomspace(1e-3, 1, num_trials).tolist())}
    return tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=grid,
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit


def keras_tuner(num_trials: int, folder: str) -> Callable[[], object]:
    """A random search with a training of one's own, which is empty."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras_tuner

    class Search(keras_tuner.RandomSearch):
        def run_trial(self, trial: keras_tuner.engine.trial.Trial, *_args: object) -> dict[str, float]:
            return {"loss": trial.hyperparameters.Float("lr", 1e-3, 1, sampling="log")}

    objective = keras_tuner.Objective("loss", "min")
    return Search(objective=objective, max_trials=num_trials, directory=folder, seed=0).search


def sklearn(num_trials: int, _folder: str) -> Callable[[], object]:
    """GridSearchCV of a classifier that learns nothing, two processes."""
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import GridSearchCV, ShuffleSplit

    x, y = np.zeros((100, 4)), np.arange(100) % 2
    grid = {"random_state": list(range(num_trials))}
    search = GridSearchCV(DummyClassifier(), grid, cv=ShuffleSplit(1, random_state=0), n_jobs=2, refit=False)
    return lambda: search.fit(x, y)


TUNERS: Mapping[str, Callable[[int, str], Callable[[], object]]] = {
    "optuna": optuna,
    "ray_tune": ray_tune,
    "keras_tuner": keras_tuner,
    "sklearn": sklearn,
}


def main() -> None:
    """Milliseconds a trial, as JSON; starting the tuner is not counted."""
    tuner, num_trials = sys.argv[1], int(sys.argv[2])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        search = TUNERS[tuner](num_trials, folder)
        print(json.dumps({"ms": 1e3 * spent_on(search).wall_s / num_trials}))


if __name__ == "__main__":
    main()
