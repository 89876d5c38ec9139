"""The conclusion of an experiment and the tables that it is drawn from, all made from the journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nnlab import __version__
from nnlab.core.lazy import lazy
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.study import Conclusion, Evidence, Facts
from nnlab.storage.csv_files import (
    COMPARISONS_CSV,
    CURVES_CSV,
    LAYERS_CSV,
    SUMMARY_CSV,
    layers_frame,
    read_csv,
    runs_frame,
    write_csv,
    write_curves,
    write_runs,
)
from nnlab.storage.journal import Journal
from nnlab.storage.manifest import Manifest

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

_CURVES_NEEDED: Final = ("run_id", "arm", "epoch", "step", "train_loss", "val_loss")


def write_conclusion(
    conclude: Callable[[Experiment, Evidence], Conclusion],
    experiment: Experiment,
    journal: Journal,
    path: Path,
    facts: Facts,
) -> Conclusion:
    """Write every table of an experiment except tuning.csv; return the study's conclusion.

    Args:
        conclude: the study's.
        experiment: all its runs that did not fail are in the journal.
        journal: the directory's.
        path: the directory.
        facts: measured beside the runs.
    """
    runs, task = experiment.runs, experiment.dataset.task
    write_curves(path, journal, runs, task=task)
    frame = runs_frame(journal, runs, task=task)
    layers: pd.DataFrame | None = None
    if experiment.probes is not None:
        layers = layers_frame(journal, runs)
        if layers.empty:
            (path / LAYERS_CSV).unlink(missing_ok=True)
        else:
            write_csv(path / LAYERS_CSV, layers)
    curves = read_csv(path / CURVES_CSV, columns=_CURVES_NEEDED)
    conclusion = conclude(experiment, Evidence(frame, curves, facts, layers))
    write_runs(path, journal, runs, task=task, steps_to_threshold=conclusion.steps_to_threshold)
    if conclusion.comparisons:
        write_csv(path / COMPARISONS_CSV, pd.DataFrame(conclusion.comparisons, dtype=object))
    else:  # left by an earlier command with more seeds
        (path / COMPARISONS_CSV).unlink(missing_ok=True)
    write_csv(path / SUMMARY_CSV, pd.DataFrame(conclusion.summary, dtype=object))
    return conclusion


def is_answered(experiment: Experiment, manifest: Manifest | None) -> bool:
    """True if the tables there hold the answer: the same arms and seeds, judged in the same way, by this nnlab."""
    if manifest is None or manifest.finished is None:
        return False
    kind = type(experiment.settings)
    asked = [*kind.with_role("analysis"), *kind.with_role("arms")]
    there = {name: resolved.value for name, resolved in manifest.settings.items()}
    spelled = experiment.settings.as_json()
    return (
        manifest.arms == tuple(arm.name for arm in experiment.arms)
        and manifest.seeds == experiment.seeds
        and all(spelled.get(name) == there.get(name) for name in asked)
        and manifest.versions.get("nnlab") == __version__
    )
