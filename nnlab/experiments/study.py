"""What every study is: a plan made from settings, and a conclusion drawn from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from pydantic import JsonValue

from nnlab.experiments.experiment import Experiment
from nnlab.settings import ExperimentSettings
from nnlab.settings.run_records import TableCell

if TYPE_CHECKING:
    import pandas as pd

S = TypeVar("S", bound=ExperimentSettings, contravariant=True)

Facts = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Conclusion:
    """What the runs say.

    Attributes:
        summary: rows of summary.csv.
        steps_to_threshold: by run_id; empty where there is no threshold.
        comparisons: rows of comparisons.csv; none where the command makes no such file.
        facts: what belongs in the manifest: the threshold, the baseline of learning, what was searched.
        notes: sentences for the person, under the table.
        best_arm: the arm chosen, or None.
    """

    summary: Sequence[Mapping[str, TableCell]]
    steps_to_threshold: Mapping[str, float] = field(default_factory=dict)
    comparisons: Sequence[Mapping[str, TableCell]] = ()
    facts: Facts = field(default_factory=dict)
    notes: Sequence[str] = ()
    best_arm: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What a conclusion is drawn from.

    Attributes:
        runs: rows of runs.csv, without steps to a threshold.
        curves: rows of curves.csv; `run_id, arm, epoch, step` and the losses.
        facts: what the study measured beside the runs.
        layers: rows of layers.csv; None where no probe looked.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    facts: Facts
    layers: pd.DataFrame | None = None


class Study(Protocol[S]):
    """One question."""

    @property
    def command(self) -> str:
        """The name of its command."""

    def plan(self, settings: S) -> Experiment:
        """Everything decided: which runs are to be made."""

    def probe(self, experiment: Experiment) -> Facts:
        """Facts that are measured once, beside the runs (the sharpness at the start). May load torch."""

    def conclude(self, experiment: Experiment, evidence: Evidence) -> Conclusion:
        """The answer."""
