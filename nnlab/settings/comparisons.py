"""The settings that every comparison of arms shares."""

from __future__ import annotations

from nnlab.settings.base import setting
from nnlab.settings.readers import CountSetting, OptionalRateList
from nnlab.settings.runs import ExperimentSettings


class CompareSettings(ExperimentSettings):
    """The settings of every comparison of arms."""

    baseline: str | None = setting(
        None, "Arm that the others are compared with.", role="analysis", panel="Judging", metavar="ARM"
    )
    tune_lr: OptionalRateList = setting(
        None,
        "Give each arm its best rate of these, by mean validation over tuning seeds.",
        role="arms",
        panel="Judging",
        metavar="RATES",
    )
    tuning_seeds: CountSetting = setting(
        3, "Seeds to tune by; none of them is reported.", role="arms", panel="Judging", metavar="N"
    )
    show_grid: bool = setting(
        False, "Show every rate that was tried, and crossed factors as a grid.", role="execution", panel="Output"
    )
