"""Any study, asked at the command line: its experiment carried out, watched on stderr, its answer shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, final

from nnlab.cli.account import Account
from nnlab.cli.output import note
from nnlab.experiments.carry_out import carry_out, question
from nnlab.settings import CompareSettings, ExperimentSettings, OutputSettings

if TYPE_CHECKING:
    from nnlab.cli.progress import Progress
    from nnlab.experiments.experiment import Experiment
    from nnlab.experiments.study import Study
    from nnlab.experiments.training import Training
    from nnlab.settings.given import Given

S = TypeVar("S", bound=ExperimentSettings)


def answer(study: Study[S], given: Given[S]) -> None:
    """Ask a study's question, from the files where they know the answer, and show it.

    Raises:
        PartialError: the machine failed some of the runs.
    """
    watcher = Terminal(given.output)
    asked = question(study, given)
    dataset, settings = asked.experiment.dataset, asked.experiment.settings
    for text in dataset.notes:
        watcher.note(text)
    watcher.spent(f"settings and data ({settings.data}, {len(dataset.y)} rows)")
    if given.output.dry_run:
        from nnlab.cli.dry_run import show_plan

        show_plan(asked)
        return
    failure = carry_out(asked, watcher)
    from nnlab.cli.results import show_grid, show_results

    show_results(asked.path, given.output, explain=given.settings.explain)
    if isinstance(given.settings, CompareSettings) and given.settings.show_grid:
        show_grid(asked.path, given.output)
    if failure is not None:
        raise failure


@final
class Terminal:
    """Tells a person on stderr: sentences, and with --verbose what is done and how long it takes; a bar while runs train."""

    def __init__(self, output: OutputSettings) -> None:
        self._output = output
        account = Account(output)
        self.tell, self.spent = account.tell, account.spent

    def note(self, words: str) -> None:
        """A sentence; not with --quiet."""
        note(words, self._output)

    def progress(self, experiment: Experiment, training: Training, earlier: Mapping[str, Sequence[float]]) -> Progress:
        """How far the runs are; nothing with --quiet."""
        from nnlab.cli.progress import Progress

        return Progress(
            len(training.runs),
            training.epochs,
            metric=experiment.settings.metric,
            factor=experiment.factor or "",
            quiet=self._output.quiet,
            no_color=self._output.no_color,
            earlier=earlier,
        )
