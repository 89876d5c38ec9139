"""Does this machine compute what plain PyTorch computes? What it is, and batched runs held against a plain loop."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

import pandas as pd

from nnlab.diagnostics.doctor.machine import machine_facts
from nnlab.diagnostics.doctor.self_check import TOLERANCES, checks
from nnlab.engine.device import device_named

COLUMNS: Final = ("about", "name", "value", "engine", "dtype", "verdict", "difference", "tolerance", "where")


def examined(device: str) -> pd.DataFrame:
    """A row for each fact of the machine (`about` is `machine`), and one for each check (`model`, `optimizer`).

    Args:
        device: as `--device` has it.

    Raises:
        UsageError: no such device here.
    """
    place = device_named(device, "float32")
    empty: dict[str, object] = dict.fromkeys(COLUMNS)
    rows = [{**empty, "about": "machine", "name": name, "value": words} for name, words in machine_facts(place).items()]
    dtypes = [dtype for dtype in TOLERANCES if place.type != "mps" or dtype != "float64"]  # Apple's has no float64
    for check in checks(place, dtypes):
        row = asdict(check)
        subject = row.pop("subject")
        rows.append({**empty, "about": subject["about"], "name": subject["name"], **row})
    return pd.DataFrame(rows, dtype=object)
