"""nnlab itself: the runs planned as the command plans them, and the engine timed alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contestant import Trained, answer, spent_on, task_of_command_line
from benchmarks.workloads import BenchRun, Workload
from nnlab.commands import EXPERIMENTS

if TYPE_CHECKING:
    from nnlab.engine.outcomes import Fitted
    from nnlab.experiments.experiment import Experiment


def experiment_of(workload: Workload) -> Experiment:
    """The experiment that the workload's command executes."""
    command = EXPERIMENTS[workload.command]
    return command.study.plan(command.settings.from_values(workload.words))


def trained_of(fitted: Fitted) -> Trained:
    """The numbers of a finished run that the table compares."""
    record, settings = fitted.record, fitted.record.run.settings
    run = BenchRun(str(settings.model), str(settings.init), settings.lr, record.run.seed)
    scores = record.scores
    return Trained(run, scores.get("train_loss", float("nan")), scores.get("test_accuracy", float("nan")))


def compete(*, with_probes: bool) -> None:
    """Train every run; the time is the engine's, without planning and writing."""
    from nnlab.engine.hooks import Hooks
    from nnlab.experiments.training import Training

    experiment = experiment_of(task_of_command_line().workload)
    probes = experiment.probes if with_probes else None
    training = Training(experiment.runs, experiment.settings, experiment.dataset, probes=probes)
    rehearsed = spent_on(training.rehearse)
    trained: list[Trained] = []
    hooks = Hooks(lambda done: trained.extend(map(trained_of, done)))
    took = spent_on(lambda: training.carry_out(hooks))
    note = f"{training.machine.threads} threads, {training.num_tiles} tiles"
    answer(took, trained, prepare_s=rehearsed.wall_s, note=note)


if __name__ == "__main__":
    compete(with_probes=True)
