"""The catalogue and its schedules, shown. Tables are loaded when there is something to show: errors come at once."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nnlab.cli.output import show
from nnlab.ingredients.listing import ingredient, kinds_frame, names_frame
from nnlab.ingredients.schedule_rates import ScheduleSettings, schedule_rates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nnlab.settings import DisplaySettings


def show_kinds(output: DisplaySettings) -> None:
    """Show what kinds of ingredient there are."""
    from nnlab.report.ingredient_tables import kinds_table

    show(kinds_frame(), table=kinds_table, output=output)


def show_names(kind: str, output: DisplaySettings) -> None:
    """Show the names of one kind."""
    names = names_frame(kind)
    from nnlab.report.ingredient_tables import names_table

    show(names, table=names_table, output=output)


def show_ingredient(kind: str, name: str, output: DisplaySettings) -> None:
    """Show one ingredient with its pictures."""
    properties, portrait = ingredient(kind, name)
    from nnlab.report.ingredient_tables import ingredient_table

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
    rates = schedule_rates(ScheduleSettings.from_values(given))
    from nnlab.report.schedule_table import rates_table

    table = partial(rates_table, title=rates.title, all_rows=all_rows)
    show(rates.frame, table=table, output=output, notes=rates.notes)
