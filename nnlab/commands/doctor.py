"""Does this machine compute what plain PyTorch computes? Facts about the machine, and batched runs compared with a plain loop."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from nnlab.core.lazy import lazy

if TYPE_CHECKING:
    import pandas as pd
else:
    pd = lazy("pandas")

DOCTOR_COLUMNS: Final = ("about", "name", "value", "engine", "dtype", "verdict", "difference", "tolerance", "where")


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
