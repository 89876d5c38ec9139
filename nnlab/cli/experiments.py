"""Any study, carried out at the command line: plan -> directory -> missing runs -> conclusion -> files -> table."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nnlab import __version__
from nnlab.cli.best_model import BestModel
from nnlab.cli.options import Given
from nnlab.cli.output import note
from nnlab.core.errors import PartialError, UsageError
from nnlab.core.settings import ExperimentSettings, OutputSettings
from nnlab.storage.csv_files import (
    COMPARISONS,
    CURVES,
    SUMMARY,
    read_csv,
    runs_frame,
    write_csv,
    write_curves,
    write_runs,
)
from nnlab.storage.directory import canonical, default_directory, open_results
from nnlab.storage.journal import Journal, stored
from nnlab.storage.manifest import (
    Manifest,
    Resolved,
    git_state,
    library_versions,
    read_manifest,
    utc_now,
    write_manifest,
)
from nnlab.storage.model_files import MODEL
from nnlab.studies.experiment import Experiment
from nnlab.studies.resolve import own_files
from nnlab.studies.study import Conclusion, Facts, Study

if TYPE_CHECKING:
    from nnlab.core.records import Run
    from nnlab.engine.fit import Fitted

S = TypeVar("S", bound=ExperimentSettings)

_CURVES_NEEDED = ("run_id", "arm", "epoch", "step", "train_loss", "val_loss")


def answer(study: Study[S], given: Given[S]) -> None:
    """Ask a study's question, from the files where they know the answer, and show it.

    Raises:
        PartialError: the machine failed some of the runs.
    """
    experiment = study.plan(given.settings)
    for text in experiment.dataset.notes:
        note(text, given.output)
    if given.output.dry_run:
        from nnlab.cli.dry_run import show_plan

        show_plan(experiment, given, directory_of(experiment, given.output))
        return
    path = directory_of(experiment, given.output)
    with open_results(path, experiment.identity, fresh=given.output.fresh) as results:
        if results.set_aside is not None:
            note(f"The old results are in {results.set_aside}.", given.output)
        journal, runs = Journal(path), experiment.runs()
        done = journal.done()
        missing = [run for run in runs if run.run_id not in done]
        if missing or not _is_answered(experiment, read_manifest(path)):
            _work(study, experiment, given, path, journal, missing)
        num_failed = len({run.run_id for run in runs} - journal.done())
    from nnlab.cli.results import show_results

    show_results(path, given.output)
    if num_failed:
        raise PartialError(f"{num_failed} of {len(runs)} runs failed; the same command tries them again.")


def directory_of(experiment: Experiment, output: OutputSettings) -> Path:
    """Where the results go: --out itself, or under results/COMMAND/ by name or by content."""
    if output.out is not None:
        return Path(output.out)
    if output.name is not None:
        if Path(output.name).name != output.name or output.name in (".", ".."):
            raise UsageError(f"--name takes the name of a directory, not {output.name!r}. A path goes to --out.")
        return Path("results") / experiment.command / output.name
    settings = experiment.settings
    return default_directory(experiment.command, str(settings.data), str(settings.model), experiment.identity)


def _is_answered(experiment: Experiment, manifest: Manifest | None) -> bool:
    """Whether the files answer just this: these arms and seeds, judged this way."""
    if manifest is None or manifest.finished is None:
        return False
    judging = {name: manifest.settings[name].value for name in type(experiment.settings).with_role("analysis")}
    spelled = experiment.settings.spelled()
    return (
        manifest.arms == tuple(arm.name for arm in experiment.arms)
        and manifest.seeds == experiment.seeds
        and all(spelled[name] == value for name, value in judging.items())
        and manifest.versions.get("nnlab") == __version__
    )


def _work(
    study: Study[S], experiment: Experiment, given: Given[S], path: Path, journal: Journal, missing: Sequence[Run]
) -> None:
    """Train what is missing, draw the conclusion, write the files."""
    start, old = time.monotonic(), read_manifest(path)
    manifest = _started(experiment, given, old)
    facts = {} if old is None else dict(old.facts)
    if missing:
        manifest = _train(experiment, given, path, journal, missing, manifest)
        facts |= study.probe(experiment)
    conclusion = _conclude(study, experiment, path, journal, facts)
    spent = time.monotonic() - start + (old.seconds or 0.0 if old is not None else 0.0)
    facts |= conclusion.facts
    write_manifest(
        path,
        replace(manifest, finished=utc_now(), seconds=spent, notes=tuple(conclusion.notes), facts=facts),
    )


def _started(experiment: Experiment, given: Given[S], old: Manifest | None) -> Manifest:
    spelled = experiment.settings.spelled()
    return Manifest(
        command=experiment.command,
        identity=json.loads(canonical(experiment.identity)),
        settings={name: Resolved(value, given.origins[name]) for name, value in spelled.items()},  # type: ignore[arg-type]
        factor=experiment.factor,
        arms=tuple(arm.name for arm in experiment.arms),
        seeds=experiment.seeds,
        versions=old.versions if old is not None else {},
        device=old.device if old is not None else "",
        dtype=experiment.settings.dtype,
        threads=old.threads if old is not None else 0,
        argv=("nnlab", *sys.argv[1:]),
        started=utc_now() if old is None else old.started,
        git=git_state(Path.cwd()),
        data_hash=experiment.dataset.fingerprint(),
        file_hashes={name: sha for arm in experiment.arms for name, sha in own_files(arm.settings).items()},
    )


def _train(
    experiment: Experiment,
    given: Given[S],
    path: Path,
    journal: Journal,
    missing: Sequence[Run],
    manifest: Manifest,
) -> Manifest:
    """Train the missing runs, recording each as it ends; the manifest with what the machine is."""
    from nnlab.cli.progress import Progress
    from nnlab.studies.running import carry_out, machine_for, versions

    settings, output = experiment.settings, given.output
    machine = machine_for(settings)
    manifest = replace(
        manifest,
        versions=library_versions(nnlab=__version__, torch=versions()["torch"]),
        device=str(machine.device),
        threads=machine.threads,
    )
    write_manifest(path, manifest)
    best = BestModel(path / MODEL, experiment) if experiment.factor is None else None
    progress = Progress(
        len(missing),
        settings.epochs,
        metric=settings.metric,
        factor=experiment.factor or "",
        quiet=output.quiet,
        no_color=output.no_color,
    )

    def record(finished: Sequence[Fitted]) -> None:
        journal.append(stored(fitted.record) for fitted in finished)
        progress.finished([fitted.record for fitted in finished])
        if best is not None:
            best.consider(finished)

    with progress:
        carry_out(missing, machine, on_finished=record, on_epoch=progress.advance, keep_weights=best is not None)
    return manifest


def _conclude(study: Study[S], experiment: Experiment, path: Path, journal: Journal, facts: Facts) -> Conclusion:
    """Write runs.csv, curves.csv, summary.csv (and comparisons.csv) from the journal."""
    import pandas as pd

    runs, task = experiment.runs(), experiment.dataset.task
    write_curves(path, journal, runs, task=task)
    frame = runs_frame(journal, runs, task=task, steps_to_threshold={})
    curves = read_csv(path / CURVES, columns=_CURVES_NEEDED)
    conclusion = study.conclude(experiment, frame, curves, facts)
    write_runs(path, journal, runs, task=task, steps_to_threshold=conclusion.steps_to_threshold)
    if conclusion.comparisons:
        write_csv(path / COMPARISONS, pd.DataFrame(conclusion.comparisons))
    write_csv(path / SUMMARY, pd.DataFrame(conclusion.summary))
    return conclusion
