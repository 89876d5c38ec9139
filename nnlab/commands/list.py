"""`nnlab list`: what there is to choose from, and one ingredient in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from nnlab.commands.command import Answer, Command
from nnlab.settings import DisplaySettings, Settings, argument

if TYPE_CHECKING:
    from nnlab.experiments.watching import Watcher
    from nnlab.settings.given import Given


class ListSettings(Settings):
    """`nnlab list`: a kind of ingredient, and one of its names."""

    kind: str | None = argument("A kind of ingredient: list its names.", metavar="KIND", default=None)
    name: str | None = argument(
        "One of these names, with or without keys: show it in full.", metavar="NAME", default=None
    )


def answer(given: Given[ListSettings, DisplaySettings], watcher: Watcher) -> Answer:  # noqa: ARG001
    """The kinds, the names of a kind, or one ingredient with its pictures."""
    kind, name = given.settings.kind, given.settings.name
    if kind is None:
        return _kinds()
    return _names(kind) if name is None else _ingredient(kind, name)


def _kinds() -> Answer:
    from nnlab.ingredients.listing import kinds_frame
    from nnlab.report.ingredient_tables import kinds_table

    rows = kinds_frame()
    return Answer(rows, lambda: [kinds_table(rows)])


def _names(kind: str) -> Answer:
    from nnlab.ingredients.listing import names_frame
    from nnlab.report.ingredient_tables import names_table

    rows = names_frame(kind)
    return Answer(rows, lambda: [names_table(rows)])


def _ingredient(kind: str, name: str) -> Answer:
    from nnlab.ingredients.listing import ingredient
    from nnlab.report.ingredient_tables import ingredient_table

    properties, portrait = ingredient(kind, name)
    table = partial(ingredient_table, properties, kind=kind, name=name)
    return Answer(
        properties,
        lambda: [table(curves=portrait.curves, histogram=portrait.histogram, sample=portrait.sample)],
    )


def _kinds_beginning(before: Mapping[str, Any], letters: str) -> Sequence[str]:  # noqa: ARG001
    from nnlab.ingredients.index import TABLES

    return [kind for kind in TABLES if kind.startswith(letters)]


def _names_beginning(before: Mapping[str, Any], letters: str) -> Sequence[str]:
    from nnlab.ingredients.index import TABLES

    return [name for name in TABLES.get(before.get("kind") or "", ()) if name.startswith(letters)]


COMMAND: Final = Command(
    "list",
    "List what there is to choose from: data, models, losses, ...; or show one name with its formula, keys and picture.",
    ListSettings,
    DisplaySettings,
    answer,
    check=lambda _: None,
    examples=("nnlab list optimizers", "nnlab list losses huber:delta=2", "nnlab list data moons:noise=0.3"),
    completions={"kind": _kinds_beginning, "name": _names_beginning},
)
