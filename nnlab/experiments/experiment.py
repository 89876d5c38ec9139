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

# Far from any seed that a user would list.
FIRST_TUNING_SEED: Final = 1_000_000


@dataclass(frozen=True)
class Arm:
    """One level of the varied factor.

    Attributes:
        name: the canonical spelling of the level.
        settings: of its runs, complete.
        levels: by factor, in canonical spelling.
    """

    name: str
    settings: RunSettings
    levels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuning:
    """The search for the best rate of each arm.

    Attributes:
        rates: ascending, the same for every arm.
        num_seeds: seeds on which each arm is tried at each rate.
    """

    rates: tuple[float, ...]
    num_seeds: int

    @property
    def seeds(self) -> range:
        return range(FIRST_TUNING_SEED, FIRST_TUNING_SEED + self.num_seeds)

    def brackets(self, rate: float) -> bool:
        """True if rates on both sides of this one were tried as well."""
        return self.rates[0] < rate < self.rates[-1]


@dataclass(frozen=True, eq=False)
class Experiment:
    """The experiment that a command executes.

    Attributes:
        command: its name.
        factor: the setting that the arms vary; None for a single arm.
        arms: in the order they are shown.
        settings: complete; shared by the arms, and how they are judged.
        dataset: the data that they learn from.
        varied: the parts of a run's identity that the arms decide (`lr`, `model.width`).
        tuning: the search for each arm's rate, before the reported runs.
        probes: epochs between probes of the layers, 0 for the start only; None for no probes.
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
        """The settings that all its runs share: the same for more seeds and more levels of the factor."""
        held = {name: value for name, value in identity(self.arms[0].settings).items() if not self._decides(name)}
        return {"the command": self.command, **held, "the data's content": self.dataset.fingerprint()}

    def _decides(self, name: str) -> bool:
        """True if the arms decide this part of the identity: `init` decides `init.std`, too."""
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
    """The runs of an arm; the id of each is a hash of everything that decides its numbers."""
    decided = {**identity(arm.settings), "data_hash": fingerprint}
    for seed in seeds:
        yield Run(digest({**decided, "seed": seed})[:12], arm.name, seed, arm.settings)


def run_settings(settings: ExperimentSettings, **changed: object) -> RunSettings:
    """The settings of one run: those of the experiment, with some of them changed."""
    values: Mapping[str, object] = {name: getattr(settings, name) for name in RunSettings.model_fields}
    return RunSettings.model_construct(**{**values, **changed})  # type: ignore[arg-type]
