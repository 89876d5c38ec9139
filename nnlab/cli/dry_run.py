"""What a command would do, and what it would cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nnlab.cli.output import note, show
from nnlab.core.settings import ExperimentSettings
from nnlab.report.tables import records_table
from nnlab.storage.csv_files import runs_frame
from nnlab.storage.journal import Journal
from nnlab.studies.experiment import Experiment
from nnlab.studies.tuning import tuned, tuning_runs

if TYPE_CHECKING:
    from nnlab.cli.options import Given
    from nnlab.core.records import Run

S = TypeVar("S", bound=ExperimentSettings)


def show_plan(experiment: Experiment, given: Given[S], path: Path) -> None:
    """Show the complete settings and where each came from, the number of runs, and the estimated time and memory."""
    import pandas as pd

    from nnlab.studies.running import Training, estimate

    journal = Journal(path) if path.is_dir() else None
    searched, runs = planned(experiment, journal)
    done = journal.done() if journal is not None else frozenset()
    missing = [run for run in (*searched, *runs) if run.run_id not in done]
    training = Training(missing, experiment.settings)
    settings = [
        {"setting": name, "value": _worded(value), "from": given.origins[name]}
        for name, value in experiment.settings.spelled().items()
    ]
    cost = [
        ("arms", len(experiment.arms)),
        *([("tuning runs", len(searched))] if searched else []),
        ("runs", len(runs)),
        ("runs to train", len(missing)),
        ("device", str(training.machine.device)),
        ("threads", training.machine.threads),
    ]
    if missing:
        estimated = estimate(training)
        cost += [("tiles", estimated.num_tiles), ("seconds", f"{estimated.seconds:.2g}")]
        cost += [("memory (MiB)", f"{estimated.memory_mib:.0f}")]
    plan = [{"setting": name, "value": str(value), "from": "plan"} for name, value in (*cost, ("directory", path))]
    output = given.output
    show(pd.DataFrame([*settings, *plan]), table=lambda frame: records_table(frame, all_rows=True), output=output)
    words = "Nothing was trained. Seconds are of computing, from a few steps of one tile; start-up not counted."
    note(words if missing else "There is nothing to train: the directory has every run.", output)


def planned(experiment: Experiment, journal: Journal | None) -> tuple[Sequence[Run], Sequence[Run]]:
    """The runs that tune, and those that are reported: at the tuned rates where these are known already."""
    if experiment.tuning is None:
        return (), experiment.runs()
    searched = tuning_runs(experiment)
    if journal is not None and journal.done() >= {run.run_id for run in searched}:
        frame = runs_frame(journal, searched, task=experiment.dataset.task, steps_to_threshold={})
        experiment = tuned(experiment, frame).experiment
    return searched, experiment.runs()


def _worded(value: object) -> str:
    if isinstance(value, list):
        words = [str(part) for part in value]
        return ", ".join(words if len(words) <= 8 else [*words[:3], "...", *words[-3:]])
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
