"""`nnlab compare`: any setting varied, everything else held, seeds paired."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nnlab.commands.command import ExperimentCommand
from nnlab.core.errors import UsageError
from nnlab.core.spelling import mention, spell_value
from nnlab.experiments.study import Conclusion, Evidence, Study
from nnlab.report.results_view import comparison_grids
from nnlab.settings import CompareSettings, setting
from nnlab.settings.readers import Repeated

if TYPE_CHECKING:
    from nnlab.experiments.experiment import Experiment

NAME: Final = "compare"


class CompareAnySettings(CompareSettings):
    """`nnlab compare`: any setting varied."""

    vary: Repeated = setting(
        (),
        "What to vary: KEY=A,B,C. Give it twice to cross two factors.",
        role="arms",
        panel="Arms",
        metavar="KEY=A,B",
    )


def plan(settings: CompareAnySettings) -> Experiment:
    """The experiment with one arm for each combination of levels."""
    if not settings.vary:
        raise UsageError(f"Nothing is varied. Say what to compare, such as {mention('vary', 'optimizer=sgd,adam')}.")
    from nnlab.experiments.comparing import plan_comparison
    from nnlab.experiments.factors import parse_factor

    return plan_comparison(NAME, [parse_factor(text, settings) for text in settings.vary], settings)


def conclude(experiment: Experiment, evidence: Evidence) -> Conclusion:
    """Each arm against the baseline: the level that the setting has when not varied, or else the first level."""
    from nnlab.experiments.comparing import compare_arms

    held = {name: getattr(experiment.settings, name, None) for name in experiment.arms[0].levels}
    usual = {name: spell_value(level) for name, level in held.items() if level is not None}
    return compare_arms(experiment, evidence, usual=usual)


COMMAND: Final = ExperimentCommand(
    NAME,
    "Compare the levels of any setting: optimizer, activation, batch_size, width, ...",
    CompareAnySettings,
    Study(plan, conclude),
    further_sheets=comparison_grids,
    examples=(
        "nnlab compare --vary optimizer=sgd,adam,lion --tune-lr 1e-3:1:7",
        "nnlab compare --vary activation=relu,tanh --vary width=50,100 --show-grid",
        "nnlab compare --data digits --vary batch_size=10,100,full --seeds 20",
    ),
)
