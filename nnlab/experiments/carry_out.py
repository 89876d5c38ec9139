"""Carry out any study: plan -> directory -> missing runs -> conclusion -> files.

The journal is the record of truth: it has each run as soon as the run's tile is done, and no run in it is trained again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nnlab import __version__
from nnlab.core.errors import PartialError
from nnlab.core.spelling import spell
from nnlab.experiments.best_model import BestModel
from nnlab.experiments.conclusions import is_answered, write_conclusion
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.manifests import new_manifest
from nnlab.experiments.study import Facts, Study
from nnlab.experiments.tuning import tune, tuning_runs
from nnlab.experiments.watching import Watcher
from nnlab.ingredients.resolve import own_files
from nnlab.settings import ExperimentSettings, OutputSettings
from nnlab.settings.given import Given
from nnlab.storage.csv_files import TUNING_CSV, runs_frame, write_csv
from nnlab.storage.directory import directory_for, open_results
from nnlab.storage.journal import Journal, journal_row
from nnlab.storage.manifest import Manifest, library_versions, read_manifest, utc_now, write_manifest
from nnlab.storage.model_files import MODEL

if TYPE_CHECKING:
    from nnlab.engine.outcomes import Fitted
    from nnlab.experiments.training import Training
    from nnlab.settings.run_records import Run

S = TypeVar("S", bound=ExperimentSettings)


@dataclass(frozen=True)
class Question(Generic[S]):
    """A question asked of a study, and everything that follows from it without computing.

    Attributes:
        study: the kind of question.
        given: what was asked for.
        experiment: the study's plan, before any learning rate is tuned.
        path: the directory of its results.
    """

    study: Study[S]
    given: Given[S, OutputSettings]
    experiment: Experiment
    path: Path


@dataclass(frozen=True)
class Completion:
    """The end of an experiment: how many of its runs failed, and why.

    Attributes:
        num_runs: runs that were asked for.
        num_failed: of these, runs that the machine failed.
        reason: why the first of these failed.
    """

    num_runs: int
    num_failed: int = 0
    reason: str = ""

    @property
    def failure(self) -> PartialError | None:
        """The error that the front end raises once the answer is shown; None if no run failed."""
        if not self.num_failed:
            return None
        return PartialError(
            f"{self.num_failed} of {self.num_runs} runs failed; the same command tries them again. {self.reason}"
        )


def ask(study: Study[S], given: Given[S, OutputSettings]) -> Question[S]:
    """The plan of a study, and where its results go. Does not load torch.

    Raises:
        UsageError: settings that can't be what was meant, or do not fit the data.
        DataError: data that can't be used.
    """
    experiment = study.plan(given.settings)
    words = str(experiment.settings.data), str(experiment.settings.model)
    path = directory_for(experiment.command, words, experiment.identity, given.output)
    return Question(study, given, experiment, path)


def carry_out(question: Question[S], watcher: Watcher) -> Completion:
    """Answer a question, from the files if they hold the answer; its directory then has every file.

    Raises:
        UsageError: an ingredient whose first call fails, a device that does not exist.
        RefusedError: another process holds the directory, or another experiment's results are in it.
    """
    experiment, fresh = question.experiment, question.given.output.fresh
    # Tuning runs come first: they decide the rates of the others.
    first = tuning_runs(experiment) if experiment.tuning is not None else experiment.runs
    # Rehearse before the directory is made, so that a refused experiment leaves nothing behind. A directory that exists is
    # checked first: it may belong to another experiment or process, and that error should not wait for torch.
    training = _rehearsal(experiment, first, watcher) if fresh or not question.path.exists() else None
    with open_results(question.path, experiment.identity, fresh=fresh) as results:
        if results.set_aside is not None:
            watcher.note(f"The old results are in {results.set_aside}.")
        return _Work(question, experiment, Journal(question.path), watcher).answer(training)


def _rehearsal(experiment: Experiment, runs: Sequence[Run], watcher: Watcher) -> Training:
    """The training of these runs, after one step of each kind of run has shown that they can be trained."""
    from nnlab.experiments.training import Training

    training = Training(runs, experiment.settings, experiment.dataset, probes=experiment.probes)
    training.rehearse()
    for choice in training.choices:
        watcher.note(choice.reason)
    settings, machine = experiment.settings, training.machine
    watcher.end_phase("torch, and one step of each kind of run")
    watcher.tell(
        f"engine {settings.engine}, {settings.dtype}, device {machine.device}, threads {machine.threads}, "
        f"runs to train {len(runs)}, tiles {training.num_tiles}"
    )
    return training


class _Measurement:
    """Facts measured in a thread beside the runs; `begin` is called once the runs are under way, or never."""

    def __init__(self, thread: Executor, measure: Callable[[], Facts]) -> None:
        self._thread, self._measure = thread, measure
        self._future: Future[Facts] | None = None

    @property
    def has_begun(self) -> bool:
        return self._future is not None

    def begin(self) -> None:
        """Start measuring."""
        self._future = self._thread.submit(self._measure)

    def facts(self) -> Facts:
        """Wait for the facts and return them."""
        assert self._future is not None
        return self._future.result()


@dataclass(frozen=True)
class _Work(Generic[S]):
    """The work in a results directory that this process holds; `experiment` is the question's, tuned if asked for."""

    question: Question[S]
    experiment: Experiment
    journal: Journal
    watcher: Watcher

    @property
    def path(self) -> Path:
        return self.question.path

    def answer(self, training: Training | None) -> Completion:
        """Tune if asked to, train what is missing, and write the files unless they are there."""
        work = self
        notes: tuple[str, ...] = ()
        if self.experiment.tuning is not None:
            work, notes = self._tune(training)
            training = None  # it was of the tuning runs; the reported runs, at their tuned rates, need one of their own
        runs, done = work.experiment.runs, self.journal.finished_run_ids()
        missing = [run for run in runs if run.run_id not in done]
        self.watcher.tell(f"{len(missing)} of {len(runs)} runs to train; they are recorded in {self.journal.path}")
        if missing and training is None:
            training = _rehearsal(work.experiment, missing, self.watcher)
        # An answer that is there is not written again: the same command, given twice, leaves its files as they are.
        if training is not None or not is_answered(work.experiment, read_manifest(self.path)):
            work._train_and_conclude(training, notes)
        return self._completion(runs)

    def _completion(self, runs: Sequence[Run]) -> Completion:
        failed = {run.run_id for run in runs} - self.journal.finished_run_ids()
        reason = next((run.reason for run in self.journal.read(failed, curves=False)), "")
        return Completion(len(runs), len(failed), reason)

    def _tune(self, training: Training | None) -> tuple[_Work[S], tuple[str, ...]]:
        """The work with each arm at its best rate, found by the tuning runs; and notes on the search."""
        import pandas as pd

        wanted, done = tuning_runs(self.experiment), self.journal.finished_run_ids()
        missing = [run for run in wanted if run.run_id not in done]
        if missing:
            training = training or _rehearsal(self.experiment, missing, self.watcher)
            self._train(training, self._manifest(read_manifest(self.path)))
        frame = runs_frame(self.journal, wanted, task=self.experiment.dataset.task)
        found = tune(self.experiment, frame)
        write_csv(self.path / TUNING_CSV, pd.DataFrame(found.rows, dtype=object))
        return replace(self, experiment=found.experiment), tuple(found.notes)

    def _train_and_conclude(self, training: Training | None, notes: tuple[str, ...]) -> None:
        """Train what is missing, draw the conclusion, write the files."""
        start, old = time.monotonic(), read_manifest(self.path)
        manifest = self._manifest(old)
        facts = {} if old is None else dict(old.facts)
        with ThreadPoolExecutor(1, thread_name_prefix="beside") as thread:
            measurement = _Measurement(thread, self._measure_beside)
            if training is not None:
                manifest = self._train(training, manifest, on_begun=measurement.begin)
                facts |= {"engines": [choice.reason for choice in training.choices]} if training.choices else {}
            elif old is None or old.finished is None:
                # Every run is recorded, but the command that trained them ended before it wrote these facts.
                measurement.begin()
            # Without a finished run there is nothing for the facts to explain, so do not wait for them.
            if measurement.has_begun and self.journal.finished_run_ids():
                facts |= measurement.facts()
                self.watcher.end_phase("measurements beside the runs")
        conclusion = write_conclusion(self.question.study.conclude, self.experiment, self.journal, self.path, facts)
        self.watcher.end_phase("conclusion and files")
        # Seconds of earlier commands count too, so that `seconds` is what the whole experiment took.
        spent = time.monotonic() - start + (old.seconds or 0.0 if old is not None else 0.0)
        facts |= conclusion.facts
        spelling = self.question.given.front_end.spelling
        write_manifest(
            self.path,
            replace(
                manifest,
                finished=utc_now(),
                seconds=spent,
                # In the words of the front end that asked: the file is read by people and programs, not by a front end alone.
                notes=tuple(spell(note, spelling) for note in (*manifest.notes, *notes, *conclusion.notes)),
                facts=facts,
            ),
        )

    def _measure_beside(self) -> Facts:
        """The study's own measurements, made while the runs are trained."""
        import pandas  # noqa: F401 - the conclusion needs it; loading it here costs no time

        return self.question.study.probe(self.experiment)

    def _train(self, training: Training, manifest: Manifest, on_begun: Callable[[], None] = lambda: None) -> Manifest:
        """Train the missing runs, recording each as it ends; return the manifest with the machine filled in."""
        from nnlab.engine.hooks import Hooks
        from nnlab.experiments.training import TORCH_VERSION

        manifest = replace(
            manifest,
            versions=library_versions(nnlab=__version__, torch=TORCH_VERSION),
            device=str(training.machine.device),
            threads=training.machine.threads,
        )
        write_manifest(self.path, manifest)  # before training: an interrupted experiment has a manifest too
        settings, is_single = self.experiment.settings, self.experiment.factor is None
        best = BestModel(self.path / MODEL, settings.metric, training.sources) if is_single else None
        with self.watcher.progress(self.experiment, training, self._scores()) as progress:

            def record(finished: Sequence[Fitted]) -> None:
                # The model first: a run in the journal is never trained again, so its model could not be saved later.
                if best is not None:
                    best.consider(finished)
                self.journal.append(journal_row(fitted.record) for fitted in finished)
                progress.count_finished([fitted.record for fitted in finished])

            hooks = Hooks(record, on_begun=on_begun, on_epoch=progress.advance, keep_weights=best is not None)
            training.carry_out(hooks)
        self.watcher.end_phase("training")
        if not training.halved:
            return manifest
        said = f"Out of memory with {max(training.halved)} runs side by side: they were trained in halves, with the same numbers."
        self.watcher.note(said)
        return replace(manifest, notes=(*manifest.notes, said))

    def _scores(self) -> Mapping[str, Sequence[float]]:
        """By arm, the scores of runs recorded by earlier commands."""
        arms = {run.run_id: run.arm for run in self.experiment.runs}
        scores: dict[str, list[float]] = {}
        for run in self.journal.read(arms, curves=False):
            score = run.row.get(self.experiment.settings.metric) if run.row["status"] == "done" else None
            scores.setdefault(arms[run.run_id], []).append(score if isinstance(score, float) else math.nan)
        return scores

    def _manifest(self, old: Manifest | None) -> Manifest:
        """The manifest of this experiment, continuing the one that is there."""
        experiment = self.experiment
        manifest = new_manifest(
            self.question.given,
            experiment.settings,
            command=experiment.command,
            identity=experiment.identity,
            dtype=experiment.settings.dtype,
            seeds=experiment.seeds,
            factor=experiment.factor,
            arms=tuple(arm.name for arm in experiment.arms),
            data_hash=experiment.dataset.fingerprint(),
            file_hashes={name: sha for arm in experiment.arms for name, sha in own_files(arm.settings).items()},
        )
        if old is None:
            return manifest
        return replace(manifest, versions=old.versions, device=old.device, threads=old.threads, started=old.started)
