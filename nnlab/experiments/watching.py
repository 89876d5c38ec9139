"""Who is told how far an experiment is. Nothing told here changes a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Protocol, final

if TYPE_CHECKING:
    from nnlab.experiments.experiment import Experiment
    from nnlab.experiments.training import Training
    from nnlab.settings.run_records import RunRecord


class Progress(Protocol):
    """Told of runs while they are trained; from any thread."""

    def advance(self, run_epochs: int) -> None:
        """So many runs have ended one more epoch."""

    def finished(self, records: Sequence[RunRecord]) -> None:
        """These runs are over."""


class Watcher(Protocol):
    """Told of an experiment while it is carried out."""

    def note(self, words: str) -> None:
        """A sentence for the person who asked."""

    def tell(self, words: str) -> None:
        """What is done and how, for whom it interests."""

    def spent(self, on: str) -> None:
        """What the time since the last such call went into."""

    def progress(
        self, experiment: Experiment, training: Training, earlier: Mapping[str, Sequence[float]]
    ) -> AbstractContextManager[Progress]:
        """Within, its runs are trained; `earlier` has by arm the scores of those that were recorded before."""


@final
class Unwatched:
    """Nobody is told anything."""

    def note(self, words: str) -> None:
        """Said to nobody."""

    def tell(self, words: str) -> None:
        """Said to nobody."""

    def spent(self, on: str) -> None:
        """Said to nobody."""

    def progress(
        self,
        experiment: Experiment,  # noqa: ARG002
        training: Training,  # noqa: ARG002
        earlier: Mapping[str, Sequence[float]],  # noqa: ARG002
    ) -> AbstractContextManager[Progress]:
        """Shown to nobody."""
        return nullcontext(self)

    def advance(self, run_epochs: int) -> None:
        """Shown to nobody."""

    def finished(self, records: Sequence[RunRecord]) -> None:
        """Shown to nobody."""
