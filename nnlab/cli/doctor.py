"""`nnlab doctor`: this machine, and whether it computes what plain PyTorch computes. A difference ends the program with 1."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from nnlab.cli.output import note, show_sheets

if TYPE_CHECKING:
    from nnlab.settings import DisplaySettings


def show_doctor(device: str, output: DisplaySettings) -> None:
    """Examine the machine and show what was found.

    Raises:
        typer.Exit: with 1 where a batched run is not what the plain loop makes of it.
    """
    from nnlab.commands.doctor import examine

    note("Batched runs against plain loops, some ten seconds ...", output)
    rows = examine(device)
    from nnlab.report.doctor import doctor_sheets

    show_sheets(rows, partial(doctor_sheets, rows), output)
    if (rows["verdict"] == "wrong").any():
        raise typer.Exit(1)
