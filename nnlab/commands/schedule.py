"""`nnlab schedule`: what a schedule does to the learning rate, without training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import Answer, Command
from nnlab.ingredients.schedule_rates import ScheduleSettings, schedule_rates
from nnlab.settings import DisplaySettings, SpecSetting, argument, setting

if TYPE_CHECKING:
    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given


class ShownScheduleSettings(ScheduleSettings):
    """`nnlab schedule`: a schedule, a budget, and how much of it is shown."""

    schedule: SpecSetting = argument("A schedule: NAME or NAME:KEY=VALUE.", metavar="SPEC")
    all: bool = setting(False, "Show every change of the learning rate.", role="execution", panel="Output")


def answer(given: Given[ShownScheduleSettings, DisplaySettings], watcher: Watcher) -> Answer:  # noqa: ARG001
    """The rate at every step, its curve, and what is probably not meant."""
    rates = schedule_rates(given.settings)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.schedule_table import rates_table

        sheet = rates_table(rates.frame, title=rates.title, all_rows=given.settings.all)
        return [sheet.with_notes(rates.notes)]

    return Answer(rates.frame, sheets, notes=rates.notes)


COMMAND: Final = Command(
    "schedule",
    "Show what a schedule does to the learning rate, without training.",
    ShownScheduleSettings,
    DisplaySettings,
    answer,
    check=schedule_rates,
    examples=(
        "nnlab schedule cosine --epochs 30",
        "nnlab schedule one_cycle:pct_start=0.2 --lr 1 --steps-per-epoch 100",
        "nnlab schedule step:step_size=10:gamma=0.5 --epochs 30 --format csv > rates.csv",
    ),
)
