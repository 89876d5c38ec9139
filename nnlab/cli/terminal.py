"""The watcher of a command that runs at a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, final

from nnlab.cli.streams import note
from nnlab.settings import DisplaySettings, OutputSettings

if TYPE_CHECKING:
    from nnlab.cli.progress import ProgressBar
    from nnlab.experiments.experiment import Experiment
    from nnlab.experiments.training import Training


@final
class Terminal:
    """Writes notes to stderr, with --verbose each step and its time, and a progress bar while runs train."""

    def __init__(self, output: DisplaySettings) -> None:
        self._output, self._since = output, time.monotonic()
        self._is_verbose = isinstance(output, OutputSettings) and output.verbose

    def note(self, words: str) -> None:
        """Write a sentence; nothing with --quiet."""
        note(words, self._output)

    def tell(self, words: str) -> None:
        """Write a sentence, with --verbose only."""
        if self._is_verbose:
            note(words, self._output)

    def end_phase(self, on: str) -> None:
        """With --verbose, say how long the phase that ends now took."""
        now = time.monotonic()
        self.tell(f"{on}: {now - self._since:.2f} s")
        self._since = now

    def progress(
        self, experiment: Experiment, training: Training, earlier: Mapping[str, Sequence[float]]
    ) -> ProgressBar:
        """Context manager: show how far the runs are; nothing with --quiet."""
        from nnlab.cli.progress import ProgressBar

        return ProgressBar(
            len(training.runs),
            training.epochs,
            metric=experiment.settings.metric,
            factor=experiment.factor or "",
            quiet=self._output.quiet,
            no_color=self._output.no_color,
            earlier=earlier,
        )
