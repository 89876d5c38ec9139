"""Any study, carried out at the command line: plan -> directory -> missing runs -> conclusion -> files -> table."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nnlab import __version__
from nnlab.cli.account import Account
from nnlab.cli.answers import directory
from nnlab.cli.best_model import BestModel
from nnlab.cli.options import Given
from nnlab.cli.output import note
from nnlab.core.errors import PartialError
from nnlab.core.settings import ExperimentSettings, OutputSettings
from nnlab.storage.csv_files import (
    COMPARISONS,
    CURVES,
    LAYERS,
    SUMMARY,
    TUNING,
    layers_frame,
    read_csv,
    runs_frame,
    write_csv,
    write_curves,
    write_runs,
)
from nnlab.storage.directory import canonical, open_results
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
from nnlab.studies.tuning import tuned, tuning_runs

if TYPE_CHECKING:
    from nnlab.core.records import Run
    from nnlab.engine.outcomes import Fitted
    from nnlab.studies.running import Training

S = TypeVar("S", bound=ExperimentSettings)

_CURVES_NEEDED = ("run_id", "arm", "epoch", "step", "train_loss", "val_loss")


def answer(study: Study[S], given: Given[S]) -> None:
    """Ask a study's question, from the files where they know the answer, and show it.

    Raises:
        PartialError: the machine failed some of the runs.
    """
    account = Account(given.output)
    experiment = study.plan(given.settings)
    for text in experiment.dataset.notes:
        note(text, given.output)
    path = directory_of(experiment, given.output)
    # Where rates are tuned, those runs come first: they decide the others.
    first = tuning_runs(experiment) if experiment.tuning is not None else experiment.runs()
    account.spent(f"settings and data ({experiment.settings.data}, {len(experiment.dataset.y)} rows)")
    if given.output.dry_run:
        from nnlab.cli.dry_run import show_plan

        show_plan(experiment, given, path)
        return
    # Before there is a directory, so that nothing is left of a command that is refused; another experiment's, or one
    # that is in use, refuses before torch is loaded.
    is_new = given.output.fresh or not path.exists()
    training = _rehearsed(experiment, first, account) if is_new else None
    with open_results(path, experiment.identity, fresh=given.output.fresh) as results:
        if results.set_aside is not None:
            note(f"The old results are in {results.set_aside}.", given.output)
        journal = Journal(path)
        notes: Sequence[str] = ()
        if experiment.tuning is not None:
            work = _Work(study, experiment, given, path, journal, account)
            experiment, notes = work.tune(training)
            training = None
        runs = experiment.runs()
        done = journal.done()
        missing = [run for run in runs if run.run_id not in done]
        account.tell(f"{len(missing)} of {len(runs)} runs to train; they are recorded in {journal.path}")
        if missing and training is None:
            training = _rehearsed(experiment, missing, account)
        if training is not None or not _is_answered(experiment, read_manifest(path)):
            _Work(study, experiment, given, path, journal, account).carry_out(training, notes)
        failed = {run.run_id for run in runs} - journal.done()
    from nnlab.cli.results import as_table, show_file, show_results

    show_results(path, given.output, explain=given.settings.explain)
    if getattr(given.settings, "show_grid", False):
        show_file(path / TUNING, as_table(given.output), all_rows=True)
    if failed:
        reason = next(run.reason for run in journal.read(failed, curves=False))
        raise PartialError(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again. {reason}")


def directory_of(experiment: Experiment, output: OutputSettings) -> Path:
    """Where the results go: --out itself, or under results/COMMAND/ by name or by content."""
    words = str(experiment.settings.data), str(experiment.settings.model)
    return directory(experiment.command, words, experiment.identity, output)


def _is_answered(experiment: Experiment, manifest: Manifest | None) -> bool:
    """Whether the files answer just this: these arms and seeds, judged this way."""
    if manifest is None or manifest.finished is None:
        return False
    roles = ("analysis", "arms")
    asked = [name for role in roles for name in type(experiment.settings).with_role(role)]  # type: ignore[arg-type]
    there = {name: resolved.value for name, resolved in manifest.settings.items()}
    spelled = experiment.settings.spelled()
    return (
        manifest.arms == tuple(arm.name for arm in experiment.arms)
        and manifest.seeds == experiment.seeds
        and all(spelled.get(name) == there.get(name) for name in asked)
        and manifest.versions.get("nnlab") == __version__
    )


def _rehearsed(experiment: Experiment, runs: Sequence[Run], account: Account) -> Training:
    """The training of these runs, of which it is known that they can be trained."""
    from nnlab.studies.running import Training

    training = Training(runs, experiment.settings, probes=experiment.probes)
    training.rehearse()
    settings, machine = experiment.settings, training.machine
    account.spent("torch, and one step of each kind of run")
    account.tell(
        f"engine {settings.engine}, {settings.dtype}, device {machine.device}, threads {machine.threads}, "
        f"runs to train {len(runs)}, tiles {training.num_tiles}"
    )
    return training


@dataclass(frozen=True)
class _Work(Generic[S]):
    """What is done in a results directory that this process holds."""

    study: Study[S]
    experiment: Experiment
    given: Given[S]
    path: Path
    journal: Journal
    account: Account

    def tune(self, training: Training | None) -> tuple[Experiment, Sequence[str]]:
        """The experiment with each arm at its best rate, found by the tuning runs; and what is to be said of the search."""
        import pandas as pd

        wanted, done = tuning_runs(self.experiment), self.journal.done()
        missing = [run for run in wanted if run.run_id not in done]
        if missing:
            training = training or _rehearsed(self.experiment, missing, self.account)
            self._train(training, _started(self.experiment, self.given, read_manifest(self.path)))
        frame = runs_frame(self.journal, wanted, task=self.experiment.dataset.task, steps_to_threshold={})
        found = tuned(self.experiment, frame)
        write_csv(self.path / TUNING, pd.DataFrame(found.rows))
        return found.experiment, found.notes

    def carry_out(self, training: Training | None, notes: Sequence[str] = ()) -> None:
        """Train what is missing, draw the conclusion, write the files."""
        start, old = time.monotonic(), read_manifest(self.path)
        manifest = _started(self.experiment, self.given, old)
        facts = {} if old is None else dict(old.facts)
        with ThreadPoolExecutor(1, thread_name_prefix="beside") as aside:
            is_new = training is not None or old is None or old.finished is None
            measured = aside.submit(self._measured_beside) if is_new else None
            if training is not None:
                manifest = self._train(training, manifest)
            if measured is not None and self.journal.done():
                facts |= measured.result()
                self.account.spent("what is measured beside the runs")
        conclusion = self._conclude(facts)
        self.account.spent("conclusion and files")
        spent = time.monotonic() - start + (old.seconds or 0.0 if old is not None else 0.0)
        facts |= conclusion.facts
        write_manifest(
            self.path,
            replace(manifest, finished=utc_now(), seconds=spent, notes=(*notes, *conclusion.notes), facts=facts),
        )

    def _measured_beside(self) -> Facts:
        """The study's own measurements, made while the runs are trained."""
        import pandas  # noqa: F401 - the conclusion needs it: here it loads in time that is free

        return self.study.probe(self.experiment)

    def _train(self, training: Training, manifest: Manifest) -> Manifest:
        """Train the missing runs, recording each as it ends; the manifest with what the machine is."""
        from nnlab.cli.progress import Progress
        from nnlab.studies.running import versions

        settings, output, factor = self.experiment.settings, self.given.output, self.experiment.factor
        manifest = replace(
            manifest,
            versions=library_versions(nnlab=__version__, torch=versions()["torch"]),
            device=str(training.machine.device),
            threads=training.machine.threads,
        )
        write_manifest(self.path, manifest)
        best = BestModel(self.path / MODEL, settings.metric, training.sources) if factor is None else None
        progress = Progress(
            len(training.runs),
            settings.epochs,
            metric=settings.metric,
            factor=factor or "",
            quiet=output.quiet,
            no_color=output.no_color,
            earlier=self._scores(),
        )

        def record(finished: Sequence[Fitted]) -> None:
            # The model first: a run that is in the journal is never trained again.
            if best is not None:
                best.consider(finished)
            self.journal.append(stored(fitted.record) for fitted in finished)
            progress.finished([fitted.record for fitted in finished])

        with progress:
            training.carry_out(on_finished=record, on_epoch=progress.advance, keep_weights=best is not None)
        self.account.spent("training")
        return manifest

    def _scores(self) -> Mapping[str, Sequence[float]]:
        """By arm, what the runs that are recorded already were judged by."""
        arms = {run.run_id: run.arm for run in self.experiment.runs()}
        scores: dict[str, list[float]] = {}
        for run in self.journal.read(arms, curves=False):
            score = run.row.get(self.experiment.settings.metric) if run.row["status"] == "done" else None
            scores.setdefault(arms[run.run_id], []).append(score if isinstance(score, float) else math.nan)
        return scores

    def _conclude(self, facts: Facts) -> Conclusion:
        """Write runs.csv, curves.csv, summary.csv (and comparisons.csv) from the journal."""
        import pandas as pd

        path, journal = self.path, self.journal
        runs, task = self.experiment.runs(), self.experiment.dataset.task
        write_curves(path, journal, runs, task=task)
        frame = runs_frame(journal, runs, task=task, steps_to_threshold={})
        curves = read_csv(path / CURVES, columns=_CURVES_NEEDED)
        if self.experiment.probes is not None:
            layers = layers_frame(journal, runs)
            write_csv(path / LAYERS, layers)
            frame.attrs["layers"] = layers
        conclusion = self.study.conclude(self.experiment, frame, curves, facts)
        write_runs(path, journal, runs, task=task, steps_to_threshold=conclusion.steps_to_threshold)
        if conclusion.comparisons:
            write_csv(path / COMPARISONS, pd.DataFrame(conclusion.comparisons))
        else:  # of more seeds, from before
            (path / COMPARISONS).unlink(missing_ok=True)
        write_csv(path / SUMMARY, pd.DataFrame(conclusion.summary))
        return conclusion


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
