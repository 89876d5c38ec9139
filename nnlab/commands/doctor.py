"""`nnlab doctor`: this machine, and whether it computes what plain PyTorch computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from nnlab.commands.command import Answer, Command
from nnlab.core.lazy import lazy
from nnlab.settings import DisplaySettings, Settings, setting

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.experiments.watching import Watcher
    from nnlab.report.sheets import Sheet
    from nnlab.settings.given import Given
else:
    pd = lazy("pandas")

DOCTOR_COLUMNS: Final = ("about", "name", "value", "engine", "dtype", "verdict", "difference", "tolerance", "where")


class DoctorSettings(Settings):
    """`nnlab doctor`: the device to check."""

    device: str = setting("auto", "Device to check: auto, cpu, cuda, cuda:N or mps.", role="execution", panel="Machine")


def examine(device: str) -> pd.DataFrame:
    """Examine the machine: a row for each fact (`about` is `machine`), and one for each check (`model`, `optimizer`).

    Args:
        device: the name of a device, or `auto`.

    Raises:
        UsageError: this machine has no such device.
    """
    from nnlab.diagnostics.doctor.machine import machine_facts
    from nnlab.diagnostics.doctor.self_check import TOLERANCES, engine_checks
    from nnlab.engine.device import device_named

    place = device_named(device, "float32")
    empty: dict[str, object] = dict.fromkeys(DOCTOR_COLUMNS)
    rows = [{**empty, "about": "machine", "name": name, "value": words} for name, words in machine_facts(place).items()]
    dtypes = [dtype for dtype in TOLERANCES if place.type != "mps" or dtype != "float64"]  # mps has no float64
    for check in engine_checks(place, dtypes):
        row = asdict(check)
        case = row.pop("case")
        rows.append({**empty, "about": case["about"], "name": case["name"], **row})
    return pd.DataFrame(rows, dtype=object)


def answer(given: Given[DoctorSettings, DisplaySettings], watcher: Watcher) -> Answer:
    """The machine, and the verdict on each model, optimizer and engine."""
    watcher.note("Comparing batched runs with plain loops, for about ten seconds ...")
    rows = examine(given.settings.device)

    def sheets() -> Sequence[Sheet]:
        from nnlab.report.doctor_tables import doctor_sheets

        return doctor_sheets(rows)

    return Answer(rows, sheets, is_wrong=bool((rows["verdict"] == "wrong").any()))


COMMAND: Final = Command(
    "doctor",
    "Describe this machine, and check that every model, optimizer and engine computes what plain PyTorch computes.",
    DoctorSettings,
    DisplaySettings,
    answer,
    check=lambda _: None,
    examples=("nnlab doctor", "nnlab doctor --device cuda --format json > machine.json"),
)
