"""What a command would do, and what it would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from nnlab.cli.output import note, show
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.tuning import tuned, tuning_runs
from nnlab.report.records import records_table
from nnlab.settings import ExperimentSettings, Settings
from nnlab.storage.csv_files import runs_frame
from nnlab.storage.journal import Journal

if TYPE_CHECKING:
    from nnlab.experiments.carry_out import Question
    from nnlab.settings.given import Given
    from nnlab.settings.run_records import Run

E = TypeVar("E", bound=ExperimentSettings)
S = TypeVar("S", bound=Settings)


def show_settings(given: Given[S], settings: Settings, plan: Mapping[str, object]) -> None:
    """Show every setting with the place its value came from, and what follows of them.

    Args:
        given: what was asked for.
        settings: the same, complete.
        plan: what follows.
    """
    import pandas as pd

    told = [(name, _worded(value), given.origins[name]) for name, value in settings.as_json().items()]
    told += [(name, str(value), "plan") for name, value in plan.items()]  # type: ignore[misc]
    frame = pd.DataFrame(told, columns=["setting", "value", "from"])
    show(frame, table=partial(records_table, all_rows=True), output=given.output)


def show_plan(asked: Question[E]) -> None:
    """Show the complete settings, the number of runs, and the estimated time and memory."""
    from nnlab.experiments.training import Training, estimate

    experiment, path = asked.experiment, asked.path
    journal = Journal(path) if path.is_dir() else None
    searched, runs = planned(experiment, journal)
    done = journal.finished_run_ids() if journal is not None else frozenset()
    missing = [run for run in (*searched, *runs) if run.run_id not in done]
    training = Training(missing, experiment.settings, experiment.dataset)
    plan: dict[str, object] = {"arms": len(experiment.arms)}
    plan |= {"tuning runs": len(searched)} if searched else {}
    plan |= {"runs": len(runs), "runs to train": len(missing)}
    plan |= {"device": training.machine.device, "threads": training.machine.threads}
    if missing:
        cost = estimate(training)
        plan |= {"tiles": cost.num_tiles, "seconds": f"{cost.seconds:.2g}", "memory (MiB)": f"{cost.memory_mib:.0f}"}
    show_settings(asked.given, experiment.settings, plan | {"directory": path})
    words = "Nothing was trained. Seconds are of computing, from a few steps of one tile; start-up not counted."
    note(words if missing else "There is nothing to train: the directory has every run.", asked.given.output)


def planned(experiment: Experiment, journal: Journal | None) -> tuple[Sequence[Run], Sequence[Run]]:
    """The runs that tune, and those that are reported: at the tuned rates where these are known already."""
    if experiment.tuning is None:
        return (), experiment.runs
    searched = tuning_runs(experiment)
    if journal is not None and journal.finished_run_ids() >= {run.run_id for run in searched}:
        frame = runs_frame(journal, searched, task=experiment.dataset.task, steps_to_threshold={})
        experiment = tuned(experiment, frame).experiment
    return searched, experiment.runs


def _worded(value: object) -> str:
    if isinstance(value, list):
        words = [str(part) for part in value]
        return ", ".join(words if len(words) <= 8 else [*words[:3], "...", *words[-3:]])
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
