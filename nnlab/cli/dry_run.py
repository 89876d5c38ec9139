"""What a command would do, and what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nnlab.cli.output import note, show
from nnlab.core.settings import ExperimentSettings
from nnlab.report.tables import records_table
from nnlab.storage.journal import Journal
from nnlab.studies.experiment import Experiment

if TYPE_CHECKING:
    from nnlab.cli.options import Given

S = TypeVar("S", bound=ExperimentSettings)


def show_plan(experiment: Experiment, given: Given[S], path: Path) -> None:
    """Show the complete settings and where each came from, the number of runs, and the estimated time and memory."""
    import pandas as pd

    from nnlab.studies.running import Training, estimate

    runs = experiment.runs()
    done = Journal(path).done() if path.is_dir() else frozenset()
    missing = [run for run in runs if run.run_id not in done]
    training = Training(missing, experiment.settings)
    settings = [
        {"setting": name, "value": _worded(value), "from": given.origins[name]}
        for name, value in experiment.settings.spelled().items()
    ]
    cost = [
        ("arms", len(experiment.arms)),
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


def _worded(value: object) -> str:
    if isinstance(value, list):
        words = [str(part) for part in value]
        return ", ".join(words if len(words) <= 8 else [*words[:3], "...", *words[-3:]])
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)
