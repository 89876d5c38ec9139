"""Any study, carried out: plan -> directory -> missing runs -> conclusion -> files.

The record of truth is the journal: a run is in it as soon as its tile is over, and what is in it is never trained again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from nnlab import __version__
from nnlab.core.errors import PartialError
from nnlab.experiments.best_model import BestModel
from nnlab.experiments.conclusions import concluded, is_answered
from nnlab.experiments.experiment import Experiment
from nnlab.experiments.manifests import begun
from nnlab.experiments.study import Facts, Study
from nnlab.experiments.tuning import tuned, tuning_runs
from nnlab.experiments.watching import Watcher
from nnlab.ingredients.resolve import own_files
from nnlab.settings import ExperimentSettings
from nnlab.settings.given import Given
from nnlab.storage.csv_files import TUNING, runs_frame, write_csv
from nnlab.storage.directory import directory_for, open_results
from nnlab.storage.journal import Journal, stored
from nnlab.storage.manifest import Manifest, library_versions, read_manifest, utc_now, write_manifest
from nnlab.storage.model_files import MODEL

if TYPE_CHECKING:
    from nnlab.engine.outcomes import Fitted
    from nnlab.experiments.training import Training
    from nnlab.settings.run_records import Run

S = TypeVar("S", bound=ExperimentSettings)


@dataclass(frozen=True)
class Question(Generic[S]):
    """What was asked of a study, and all that follows of it without computing.

    Attributes:
        study: which question.
        given: what was asked for.
        experiment: its plan; where rates are tuned, before they are.
        path: the directory of its results.
    """

    study: Study[S]
    given: Given[S]
    experiment: Experiment
    path: Path


def question(study: Study[S], given: Given[S]) -> Question[S]:
    """The plan, and where its results go. Without torch.

    Raises:
        UsageError: settings that can't be what is meant, or do not fit the data.
        DataError: data that can't be used.
    """
    experiment = study.plan(given.settings)
    words = str(experiment.settings.data), str(experiment.settings.model)
    path = directory_for(experiment.command, words, experiment.identity, given.output)
    return Question(study, given, experiment, path)


def carry_out(asked: Question[S], watcher: Watcher) -> PartialError | None:
    """Answer a question, from the files where they know the answer; its directory then has every file.

    Returns: what is to be raised once the answer is shown: that the machine failed some of the runs.

    Raises:
        UsageError: an ingredient that only its first call shows to be wrong, a device that is not there.
        RefusedError: another process holds the directory, or another experiment's results are in it.
    """
    experiment, fresh = asked.experiment, asked.given.output.fresh
    # Where rates are tuned, those runs come first: they decide the others.
    first = tuning_runs(experiment) if experiment.tuning is not None else experiment.runs
    # Before there is a directory, so that nothing is left of what is refused; another experiment's, or one that is in
    # use, refuses before torch is loaded.
    training = _rehearsed(experiment, first, watcher) if fresh or not asked.path.exists() else None
    with open_results(asked.path, experiment.identity, fresh=fresh) as results:
        if results.set_aside is not None:
            watcher.note(f"The old results are in {results.set_aside}.")
        return _Work(asked, experiment, Journal(asked.path), watcher).answer(training)


def _rehearsed(experiment: Experiment, runs: Sequence[Run], watcher: Watcher) -> Training:
    """The training of these runs, of which it is known that they can be trained."""
    from nnlab.experiments.training import Training

    training = Training(runs, experiment.settings, experiment.dataset, probes=experiment.probes)
    training.rehearse()
    for choice in training.choices:
        watcher.note(choice.reason)
    settings, machine = experiment.settings, training.machine
    watcher.spent("torch, and one step of each kind of run")
    watcher.tell(
        f"engine {settings.engine}, {settings.dtype}, device {machine.device}, threads {machine.threads}, "
        f"runs to train {len(runs)}, tiles {training.num_tiles}"
    )
    return training


@dataclass(frozen=True)
class _Work(Generic[S]):
    """What is done in a results directory that this process holds; `experiment` is the question's, or that tuned."""

    asked: Question[S]
    experiment: Experiment
    journal: Journal
    watcher: Watcher

    @property
    def path(self) -> Path:
        return self.asked.path

    def answer(self, training: Training | None) -> PartialError | None:
        """Tune if asked to, train what is missing, and write the files unless they are there."""
        work, notes = self, tuple[str, ...]()
        if self.experiment.tuning is not None:
            work, notes = self._tuned(training)
            training = None
        runs, done = work.experiment.runs, self.journal.done()
        missing = [run for run in runs if run.run_id not in done]
        self.watcher.tell(f"{len(missing)} of {len(runs)} runs to train; they are recorded in {self.journal.path}")
        if missing and training is None:
            training = _rehearsed(work.experiment, missing, self.watcher)
        if training is not None or not is_answered(work.experiment, read_manifest(self.path)):
            work._carry_out(training, notes)
        return self._failure(runs)

    def _failure(self, runs: Sequence[Run]) -> PartialError | None:
        failed = {run.run_id for run in runs} - self.journal.done()
        if not failed:
            return None
        reason = next(run.reason for run in self.journal.read(failed, curves=False))
        return PartialError(f"{len(failed)} of {len(runs)} runs failed; the same command tries them again. {reason}")

    def _tuned(self, training: Training | None) -> tuple[_Work[S], tuple[str, ...]]:
        """The work with each arm at its best rate, found by the tuning runs; and what is to be said of the search."""
        import pandas as pd

        wanted, done = tuning_runs(self.experiment), self.journal.done()
        missing = [run for run in wanted if run.run_id not in done]
        if missing:
            training = training or _rehearsed(self.experiment, missing, self.watcher)
            self._train(training, self._begun(read_manifest(self.path)))
        frame = runs_frame(self.journal, wanted, task=self.experiment.dataset.task, steps_to_threshold={})
        found = tuned(self.experiment, frame)
        write_csv(self.path / TUNING, pd.DataFrame(found.rows, dtype=object))
        return replace(self, experiment=found.experiment), tuple(found.notes)

    def _carry_out(self, training: Training | None, notes: tuple[str, ...]) -> None:
        """Train what is missing, draw the conclusion, write the files."""
        start, old = time.monotonic(), read_manifest(self.path)
        manifest = self._begun(old)
        facts = {} if old is None else dict(old.facts)
        with ThreadPoolExecutor(1, thread_name_prefix="beside") as aside:
            measured: list[Future[Facts]] = []

            def measure() -> None:
                measured.append(aside.submit(self._measured_beside))

            if training is not None:
                manifest = self._train(training, manifest, on_begun=measure)
                facts |= {"engines": [choice.reason for choice in training.choices]} if training.choices else {}
            elif old is None or old.finished is None:
                measure()
            if measured and self.journal.done():
                facts |= measured[0].result()
                self.watcher.spent("what is measured beside the runs")
        conclusion = concluded(self.asked.study, self.experiment, self.journal, self.path, facts)
        self.watcher.spent("conclusion and files")
        spent = time.monotonic() - start + (old.seconds or 0.0 if old is not None else 0.0)
        facts |= conclusion.facts
        write_manifest(
            self.path,
            replace(
                manifest,
                finished=utc_now(),
                seconds=spent,
                notes=(*manifest.notes, *notes, *conclusion.notes),
                facts=facts,
            ),
        )

    def _measured_beside(self) -> Facts:
        """The study's own measurements, made while the runs are trained."""
        import pandas  # noqa: F401 - the conclusion needs it: here it loads in time that is free

        return self.asked.study.probe(self.experiment)

    def _train(self, training: Training, manifest: Manifest, on_begun: Callable[[], None] = lambda: None) -> Manifest:
        """Train the missing runs, recording each as it ends; the manifest with what the machine is."""
        from nnlab.engine.hooks import Hooks
        from nnlab.experiments.training import versions

        manifest = replace(
            manifest,
            versions=library_versions(nnlab=__version__, torch=versions()["torch"]),
            device=str(training.machine.device),
            threads=training.machine.threads,
        )
        write_manifest(self.path, manifest)
        settings, is_single = self.experiment.settings, self.experiment.factor is None
        best = BestModel(self.path / MODEL, settings.metric, training.sources) if is_single else None
        with self.watcher.progress(self.experiment, training, self._scores()) as progress:

            def record(finished: Sequence[Fitted]) -> None:
                # The model first: a run that is in the journal is never trained again.
                if best is not None:
                    best.consider(finished)
                self.journal.append(stored(fitted.record) for fitted in finished)
                progress.finished([fitted.record for fitted in finished])

            hooks = Hooks(record, on_begun=on_begun, on_epoch=progress.advance, keep_weights=best is not None)
            training.carry_out(hooks)
        self.watcher.spent("training")
        if not training.halved:
            return manifest
        said = f"Out of memory with {max(training.halved)} runs side by side: they were trained in halves, with the same numbers."
        self.watcher.note(said)
        return replace(manifest, notes=(*manifest.notes, said))

    def _scores(self) -> Mapping[str, Sequence[float]]:
        """By arm, what the runs that are recorded already were judged by."""
        arms = {run.run_id: run.arm for run in self.experiment.runs}
        scores: dict[str, list[float]] = {}
        for run in self.journal.read(arms, curves=False):
            score = run.row.get(self.experiment.settings.metric) if run.row["status"] == "done" else None
            scores.setdefault(arms[run.run_id], []).append(score if isinstance(score, float) else math.nan)
        return scores

    def _begun(self, old: Manifest | None) -> Manifest:
        """The manifest of this experiment, going on from the one that is there."""
        experiment = self.experiment
        manifest = begun(
            self.asked.given,
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
