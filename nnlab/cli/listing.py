"""The catalogue, shown."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nnlab.cli.output import show
from nnlab.report.listing import ingredient_table, kinds_table, names_table
from nnlab.studies.listing import ingredient, kinds_frame, names_frame

if TYPE_CHECKING:
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
