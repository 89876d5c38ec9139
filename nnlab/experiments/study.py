"""A study: a plan made from settings, and a conclusion drawn from rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from pydantic import JsonValue

from nnlab.settings import ExperimentSettings
from nnlab.settings.run_records import TableCell

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.experiments.experiment import Experiment

S = TypeVar("S", bound=ExperimentSettings)

Facts = Mapping[str, JsonValue]


@dataclass(frozen=True)
class Conclusion:
    """The answer that the runs give.

    Attributes:
        summary: rows of summary.csv.
        steps_to_threshold: by run_id; empty without a threshold.
        comparisons: rows of comparisons.csv; empty if the command writes no such file.
        facts: entries for the manifest, such as the threshold and the baseline.
        notes: sentences under the table.
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
    """The rows and facts that a conclusion is drawn from.

    Attributes:
        runs: rows of runs.csv, without steps to a threshold.
        curves: rows of curves.csv; `run_id, arm, epoch, step` and the losses.
        facts: measured beside the runs.
        layers: rows of layers.csv; None if layers were not probed.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    facts: Facts
    layers: pd.DataFrame | None = None


def no_facts(experiment: Experiment) -> Facts:  # noqa: ARG001
    """The facts of a study that measures nothing beside the runs."""
    return {}


@dataclass(frozen=True)
class Study(Generic[S]):
    """One question asked of an experiment.

    Attributes:
        plan: decides which runs to train. Does not load torch.
        conclude: draws the answer from the rows of finished runs.
        probe: measures facts once, beside the runs (the sharpness at the start). May load torch.
    """

    plan: Callable[[S], Experiment]
    conclude: Callable[[Experiment, Evidence], Conclusion]
    probe: Callable[[Experiment], Facts] = no_facts
