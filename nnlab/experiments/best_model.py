"""The best of the models that a command trains, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nnlab.storage.model_files import SavedModel, load_description, save_model

if TYPE_CHECKING:
    from nnlab.engine.outcomes import Fitted
    from nnlab.engine.sources import Sources


class BestModel:
    """Keeps the best model by a metric in `model/`, also over several commands; without a validation part, the first."""

    def __init__(self, directory: Path, metric: str, sources: Sources) -> None:
        self.directory, self.metric, self.sources = directory, metric, sources
        there = load_description(directory)
        self.score: float | None = None if there is None else there["scores"].get(self.metric)
        self.is_there = there is not None

    def consider(self, finished: Sequence[Fitted]) -> None:
        """Save the model of each of these runs that is better than all before it."""
        from nnlab.analysis.scores import higher_is_better
        from nnlab.experiments.trained import description_of, weights_of

        for fitted in finished:
            score = fitted.record.scores.get(self.metric)
            if fitted.weights is None:
                continue
            better = self.score is None or (
                score is not None and (score > self.score if higher_is_better(self.metric) else score < self.score)
            )
            if not self.is_there or (better and score is not None):
                save_model(self.directory, SavedModel(weights_of(fitted), description_of(fitted, self.sources)))
                self.score, self.is_there = score, True
