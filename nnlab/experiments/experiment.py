"""An experiment: base settings x the levels of one varied factor (its arms) x seeds, decided before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from nnlab.data.dataset import Dataset
from nnlab.ingredients.resolve import digest, identity
from nnlab.settings import ExperimentSettings, RunSettings
from nnlab.settings.run_records import Run

# Far from any seed that a person would list to report.
FIRST_TUNING_SEED: Final = 1_000_000


@dataclass(frozen=True)
class Arm:
    """One level of the varied factor.

    Attributes:
        name: the canonical spelling of the level.
        settings: a run's, complete.
        levels: by factor, in their canonical spelling.
    """

    name: str
    settings: RunSettings
    levels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuning:
    """What is searched.

    Attributes:
        rates: ascending, the same for every arm.
        num_seeds: seeds that each arm is tried on at each rate.
    """

    rates: tuple[float, ...]
    num_seeds: int

    @property
    def seeds(self) -> range:
        return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.num_seeds)

    def brackets(self, rate: float) -> bool:
        """Whether rates on both sides of this one were tried as well."""
        return self.rates[0] < rate < self.rates[-1]


@dataclass(frozen=True, eq=False)
class Experiment:
    """What a command executes.

    Attributes:
        command: which one.
        factor: the setting that the arms vary; None where there is one arm and nothing is varied.
        arms: in the order they are shown.
        settings: complete; what the arms have in common, and how they are judged.
        dataset: what they learn from.
        varied: what of a run's identity the arms decide (`lr`, `model.width`).
        tuning: how each arm's rate is searched for, before the runs that are reported.
        probes: epochs between probes of the layers, 0 for the start alone; None where layers are not looked at.
    """

    command: str
    factor: str | None
    arms: tuple[Arm, ...]
    settings: ExperimentSettings
    dataset: Dataset
    varied: tuple[str, ...] = ()
    tuning: Tuning | None = None
    probes: int | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.settings.seeds

    @property
    def identity(self) -> dict[str, object]:
        """What all runs of the experiment share: the same for more seeds and more levels of the factor."""
        held = {name: value for name, value in identity(self.arms[0].settings).items() if not self._decides(name)}
        return {"the command": self.command, **held, "the data's content": self.dataset.fingerprint()}

    def _decides(self, name: str) -> bool:
        """Whether the arms decide this part of the identity: `init` decides `init.std` as well."""
        return any(name == decided or name.startswith(f"{decided}.") for decided in self.varied)

    @property
    def column(self) -> str:
        """The column that tells the arms apart."""
        return self.factor or "model"

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Every run, arm by arm."""
        fingerprint = self.dataset.fingerprint()
        return tuple(run for arm in self.arms for run in runs_of(arm, self.seeds, fingerprint))


def runs_of(arm: Arm, seeds: Iterable[int], fingerprint: str) -> Iterator[Run]:
    """The runs of an arm; the id of each is a hash of all that decides its numbers."""
    decided = {**identity(arm.settings), "data_hash": fingerprint}
    for seed in seeds:
        yield Run(digest({**decided, "seed": seed})[:12], arm.name, seed, arm.settings)


def run_settings(settings: ExperimentSettings, **changed: object) -> RunSettings:
    """The part of an experiment's settings that one run has, with some of them changed."""
    values: Mapping[str, object] = {name: getattr(settings, name) for name in RunSettings.model_fields}
    return RunSettings.model_construct(**{**values, **changed})  # type: ignore[arg-type]
