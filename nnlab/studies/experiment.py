"""An experiment: base settings x the levels of one varied factor (its arms) x seeds, decided before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nnlab.catalog.dataset import Dataset
from nnlab.core.records import Run
from nnlab.core.settings import ExperimentSettings, RunSettings
from nnlab.studies.resolve import digest, identity


@dataclass(frozen=True)
class Arm:
    """One level of the varied factor.

    Attributes:
        name: the canonical spelling of the level.
        settings: a run's, complete.
    """

    name: str
    settings: RunSettings


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a command executes.

    Attributes:
        command: which one.
        factor: the setting that the arms vary; None where there is one arm and nothing is varied.
        arms: in the order they are shown.
        settings: complete; what the arms have in common, and how they are judged.
        dataset: what they learn from.
    """

    command: str
    factor: str | None
    arms: tuple[Arm, ...]
    settings: ExperimentSettings
    dataset: Dataset

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.settings.seeds

    @property
    def identity(self) -> dict[str, object]:
        """What all runs of the experiment share: the same for more seeds and more levels of the factor."""
        held = {name: value for name, value in identity(self.arms[0].settings).items() if name != self.factor}
        return {"the command": self.command, **held, "the data's content": self.dataset.fingerprint()}

    @property
    def column(self) -> str:
        """The column of runs.csv that tells the arms apart."""
        return self.factor or "model"

    def runs(self) -> tuple[Run, ...]:
        """Every run, arm by arm, with its id: a hash of all that decides its numbers."""
        fingerprint = self.dataset.fingerprint()
        found = []
        for arm in self.arms:
            decided = {**identity(arm.settings), "data_hash": fingerprint}
            for seed in self.seeds:
                run_id = digest({**decided, "seed": seed})[:12]
                found.append(Run(run_id, arm.name, seed, arm.settings))
        return tuple(found)


def run_settings(settings: ExperimentSettings, **changed: object) -> RunSettings:
    """The part of an experiment's settings that one run has, with some of them changed."""
    values: Mapping[str, object] = {name: getattr(settings, name) for name in RunSettings.model_fields}
    return RunSettings.model_construct(**{**values, **changed})  # type: ignore[arg-type]
