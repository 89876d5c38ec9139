"""How does this configuration train? One arm, any number of seeds."""

from __future__ import annotations

from typing import Final

from nnlab.experiments.experiment import Arm, Experiment, run_settings
from nnlab.experiments.judging import judged
from nnlab.experiments.study import Conclusion, Evidence, Facts
from nnlab.ingredients.resolve import settings_and_data
from nnlab.settings import TrainSettings


class Train:
    """The study behind `nnlab train`."""

    command: Final = "train"

    def plan(self, settings: TrainSettings) -> Experiment:
        """One arm, named for its model."""
        settings, dataset = settings_and_data(settings)
        arm = Arm(str(settings.model), run_settings(settings))
        return Experiment(self.command, None, (arm,), settings, dataset)

    def probe(self, experiment: Experiment) -> Facts:  # noqa: ARG002
        """Nothing is measured beside the runs."""
        return {}

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """The one arm's scores over its seeds."""
        return judged(experiment, evidence)


TRAIN: Final = Train()
