"""Dry runs: the settings, the runs, and their cost, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from nnlab.core.lazy import lazy
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.tuning import tune, tuning_runs
from nnlab.settings import DisplaySettings, ExperimentSettings, Settings
from nnlab.storage.csv_files import runs_frame
from nnlab.storage.journal import Journal

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.experiments.carry_out import Question
    from nnlab.settings.given import Given
    from nnlab.settings.run_records import Run
else:
    pd = lazy("pandas")

E = TypeVar("E", bound=ExperimentSettings)

_MOST_LISTED = 8


def settings_frame(
    given: Given[Settings, DisplaySettings], settings: Settings, plan: Mapping[str, object]
) -> pd.DataFrame:
    """A row `setting, value, from` for each setting, and for each thing that follows from them.

    Args:
        given: what was asked for.
        settings: the same, complete.
        plan: what follows, by name.
    """
    rows = [(name, _cell(value), str(given.origins[name])) for name, value in settings.as_json().items()]
    rows += [(name, str(value), "plan") for name, value in plan.items()]
    return pd.DataFrame(rows, columns=["setting", "value", "from"])


def plan_frame(question: Question[E]) -> tuple[pd.DataFrame, str]:
    """The complete settings, the number of runs, the estimated time and memory; and a sentence about the estimate."""
    from nnlab.experiments.training import Training, estimate

    experiment, path = question.experiment, question.path
    journal = Journal(path) if path.is_dir() else None
    search, runs = planned_runs(experiment, journal)
    done = journal.finished_run_ids() if journal is not None else frozenset()
    missing = [run for run in (*search, *runs) if run.run_id not in done]
    training = Training(missing, experiment.settings, experiment.dataset)
    plan: dict[str, object] = {"arms": len(experiment.arms)}
    plan |= {"tuning runs": len(search)} if search else {}
    plan |= {"runs": len(runs), "runs to train": len(missing)}
    plan |= {"device": training.machine.device, "threads": training.machine.threads}
    if missing:
        cost = estimate(training)
        plan |= {"tiles": cost.num_tiles, "seconds": f"{cost.seconds:.2g}", "memory (MiB)": f"{cost.memory_mib:.0f}"}
    rows = settings_frame(question.given, experiment.settings, plan | {"directory": path})
    words = "Nothing was trained. The seconds are estimated from a few steps of one tile, without start-up."
    return rows, words if missing else "There is nothing to train: the directory has every run."


def planned_runs(experiment: Experiment, journal: Journal | None) -> tuple[Sequence[Run], Sequence[Run]]:
    """The tuning runs and the reported runs; these are at the tuned rates if all tuning runs are in the journal."""
    if experiment.tuning is None:
        return (), experiment.runs
    search = tuning_runs(experiment)
    if journal is not None and journal.finished_run_ids() >= {run.run_id for run in search}:
        experiment = tune(experiment, runs_frame(journal, search, task=experiment.dataset.task)).experiment
    return search, experiment.runs


def _cell(value: object) -> str:
    if isinstance(value, list):
        words = [str(part) for part in value]
        return ", ".join(words if len(words) <= _MOST_LISTED else [*words[:3], "...", *words[-3:]])
    return str(value).lower() if isinstance(value, bool) else str(value)
