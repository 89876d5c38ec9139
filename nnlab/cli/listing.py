"""The catalogue and its schedules, shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nnlab.cli.output import show
from nnlab.report.listing import ingredient_table, kinds_table, names_table
from nnlab.report.rates import rates_table
from nnlab.studies.listing import ingredient, kinds_frame, names_frame
from nnlab.studies.schedules import ScheduleSettings, schedule_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnlab.core.settings import DisplaySettings


def show_catalogue(kind: str | None, name: str | None, output: DisplaySettings) -> None:
    """Show the kinds, the names of one kind, or one ingredient."""
    if kind is None:
        show(kinds_frame(), table=kinds_table, output=output)
    elif name is None:
        show(names_frame(kind), table=names_table, output=output)
    else:
        properties, portrait = ingredient(kind, name)
        table = partial(
            ingredient_table,
            kind=kind,
            name=name,
            curves=portrait.curves,
            histogram=portrait.histogram,
            sample=portrait.sample,
        )
        show(properties, table=table, output=output)


def show_schedule(given: Mapping[str, str], output: DisplaySettings, *, all_rows: bool = False) -> None:
    """Show a schedule's rates, their curve, and what is likely not meant.

    Args:
        given: settings as a person wrote them.
        output: how the answer looks.
        all_rows: every change of the rate in the table.
    """
    rates = schedule_rates(ScheduleSettings.checked(given))
    table = partial(rates_table, title=rates.title, all_rows=all_rows)
    show(rates.frame, table=table, output=output, notes=rates.notes)
