"""The settings of an experiment: frozen, checked, each with the place its value came from.

A setting is declared once, in this package: its name is its key in TOML and in Python, its flag with dashes (`batch_size`
is `--batch-size`), and its environment variable in capitals (`NNLAB_BATCH_SIZE`). Its role says what a change of it does:

    training    changes a run's numbers: part of the run's identity
    arms        lists what is varied: each level is a run of its own
    analysis    changes how finished runs are judged, not the runs
    execution   changes where or how fast runs are computed, and no more
"""

from __future__ import annotations

from nnlab.settings.base import Origin, Role, Settings, Task, setting
from nnlab.settings.experiments import (
    CompareAnySettings,
    CompareInitSettings,
    CompareLossSettings,
    CompareScheduleSettings,
    CompareSettings,
    SweepLrSettings,
    TrainSettings,
)
from nnlab.settings.inspections import GradcheckSettings, NeuronSettings
from nnlab.settings.output import DisplaySettings, GradcheckOutputSettings, OutputSettings
from nnlab.settings.readers import CountSetting, RateSetting, SpecSetting, WholeSetting
from nnlab.settings.runs import ExperimentSettings, RunSettings

__all__ = [
    "CompareAnySettings",
    "CompareInitSettings",
    "CompareLossSettings",
    "CompareScheduleSettings",
    "CompareSettings",
    "CountSetting",
    "DisplaySettings",
    "ExperimentSettings",
    "GradcheckOutputSettings",
    "GradcheckSettings",
    "NeuronSettings",
    "Origin",
    "OutputSettings",
    "RateSetting",
    "Role",
    "RunSettings",
    "Settings",
    "SpecSetting",
    "SweepLrSettings",
    "Task",
    "TrainSettings",
    "WholeSetting",
    "setting",
]
