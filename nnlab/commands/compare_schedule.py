"""`nnlab compare-schedule`: the schedule of the learning rate varied, at equal budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.experiments.study import Conclusion, Evidence, Study
from nnlab.report.results_view import comparison_grids
from nnlab.settings import CompareSettings, setting
from nnlab.settings.readers import SpecList

if TYPE_CHECKING:
    from nnlab.experiments.experiment import Experiment

NAME: Final = "compare-schedule"


class CompareScheduleSettings(CompareSettings):
    """`nnlab compare-schedule`: the schedule varied, at equal budget."""

    schedules: SpecList = setting(
        "none,step,cosine,one_cycle,linear,exponential,reduce_on_plateau:patience=2",
        "Schedules to compare.",
        role="arms",
        panel="Arms",
        metavar="SPEC,SPEC",
    )


def plan(settings: CompareScheduleSettings) -> Experiment:
    """The experiment with one arm for each schedule, all with the same epochs, batches and rate."""
    from nnlab.experiments.comparing import plan_comparison
    from nnlab.experiments.factors import setting_factor

    return plan_comparison(NAME, [setting_factor("schedule", [str(s) for s in settings.schedules])], settings)


def conclude(experiment: Experiment, evidence: Evidence) -> Conclusion:
    """Each schedule against none."""
    from nnlab.experiments.comparing import compare_arms

    return compare_arms(experiment, evidence, usual={"schedule": "none"})


COMMAND: Final = ExperimentCommand(
    NAME,
    "Compare learning-rate schedules at equal budget.",
    CompareScheduleSettings,
    Study(plan, conclude),
    further_sheets=comparison_grids,
    examples=(
        "nnlab compare-schedule --schedules none,cosine,one_cycle --lr 1",
        "nnlab compare-schedule --data digits --tune-lr 0.01:1:5 --epochs 20",
    ),
)
