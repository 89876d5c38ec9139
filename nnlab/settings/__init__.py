"""Settings: frozen, checked, each with the place that its value came from.

A setting is declared once: in this package if several commands have it, else beside its command. Its name is its key in TOML and in
Python, its option with dashes (`batch_size` is `--batch-size`), and its environment variable in capitals (`NNLAB_BATCH_SIZE`).
Its role says what a change of it does:

    training    changes a run's numbers: part of the run's identity
    arms        lists what is varied: each level is a run of its own
    analysis    changes how finished runs are judged, not the runs
    execution   changes where or how fast runs are computed, and no more
"""

from __future__ import annotations

from nnlab.settings.base import Origin, Role, Settings, Task, argument, setting
from nnlab.settings.output import DisplaySettings, OutputSettings
from nnlab.settings.readers import CountSetting, RateSetting, SpecSetting, WholeSetting
from nnlab.settings.runs import CompareSettings, ExperimentSettings, RunSettings

__all__ = [
    "CompareSettings",
    "CountSetting",
    "DisplaySettings",
    "ExperimentSettings",
    "Origin",
    "OutputSettings",
    "RateSetting",
    "Role",
    "RunSettings",
    "Settings",
    "SpecSetting",
    "Task",
    "WholeSetting",
    "argument",
    "setting",
]
