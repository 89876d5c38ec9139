"""Watchers follow the progress of an experiment. Nothing they do changes a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from nnlab.experiments.experiment import Experiment
    from nnlab.experiments.training import Training
    from nnlab.settings.run_records import RunRecord


class Progress(Protocol):
    """Counts runs while they are trained; called from any thread."""

    def advance(self, run_epochs: int) -> None:
        """Count one more epoch for this many runs."""

    def count_finished(self, records: Sequence[RunRecord]) -> None:
        """Count these runs as finished."""


class Watcher(Protocol):
    """Follows an experiment while it is carried out."""

    def note(self, words: str) -> None:
        """Pass on a sentence to the user."""

    def tell(self, words: str) -> None:
        """Pass on a detail that a user may want to know."""

    def end_phase(self, on: str) -> None:
        """Report the time since the last such call as this phase's."""

    def progress(
        self, experiment: Experiment, training: Training, earlier: Mapping[str, Sequence[float]]
    ) -> AbstractContextManager[Progress]:
        """Context manager around the training; `earlier` has, by arm, the scores of runs recorded before it."""


@final
class Unwatched:
    """The watcher that passes nothing on."""

    def note(self, words: str) -> None:
        """Ignore it."""

    def tell(self, words: str) -> None:
        """Ignore it."""

    def end_phase(self, on: str) -> None:
        """Ignore it."""

    def progress(
        self,
        experiment: Experiment,  # noqa: ARG002
        training: Training,  # noqa: ARG002
        earlier: Mapping[str, Sequence[float]],  # noqa: ARG002
    ) -> AbstractContextManager[Progress]:
        """Ignore it."""
        return nullcontext(self)

    def advance(self, run_epochs: int) -> None:
        """Ignore it."""

    def count_finished(self, records: Sequence[RunRecord]) -> None:
        """Ignore it."""
