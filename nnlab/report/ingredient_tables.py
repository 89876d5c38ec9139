"""The catalogue as tables: its kinds, the names of one kind, and one ingredient with its pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nnlab.report.cells import number
from nnlab.report.plots import Curves, Illustrated
from nnlab.report.records import records_table
from nnlab.report.sheets import Column, Line, Sheet
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

# By importance: where room is short the last column goes first. In a list of losses, purposes come before formulas.
_RANKS: Final = (
    *("estimates", "tasks", "link", "what", "better", "keys"),
    *("task", "per", "range", "law", "pytorch", "origin", "source"),
)
_SENTENCE: Final = 32  # characters: the least width that a formula keeps
_LONG_NUMBER: Final = re.compile(r"(?<![\w.])-?\d+\.\d{5,}(e-?\d+)?")


@dataclass(frozen=True)
class Prose(Column):
    """A column of prose: its cells are broken between words, never within one such as `fan_in`.

    Attributes:
        least: the width below which other columns go first; that of the longest word if it is larger, up to 32.
    """

    least: int = 20

    @property
    def least_width(self) -> int:
        """The least width in which it can be read."""
        longest = max((len(word) for text in self.cells for word in text.split()), default=0)
        return min(self.width, max(self.least, min(longest, _SENTENCE)))


def kinds_table(kinds: pd.DataFrame) -> Sheet:
    """A row for each kind of ingredient."""
    columns = [
        Column("kind", _cells(kinds, "kind")),
        Column("number", _cells(kinds, "number")),
        Prose("option", _cells(kinds, "option")),
        Prose("names", _cells(kinds, "names"), rank=1),
    ]
    said = "`nnlab list KIND` says what each is; `nnlab list KIND NAME` shows one, with its formula and a picture."
    return Sheet(columns, lines=[Line(said)])


def names_table(names: pd.DataFrame) -> Sheet:
    """A row for each name of a kind; empty columns are left out."""
    filled = [name for name in names.columns[1:] if (names[name] != "").any()]
    return Sheet([Column("name", _cells(names, "name")), *(_property_column(names, name) for name in filled)])


def _property_column(names: pd.DataFrame, name: str) -> Column:
    cells, rank = _cells(names, name), _RANKS.index(name) + 1
    if name == "keys":
        return Prose(name, [cell.replace(":", " ") for cell in cells], rank=rank, least=0)
    return Prose(name, cells, rank=rank, least=_SENTENCE if name == "what" else 20)


def ingredient_table(
    properties: pd.DataFrame,
    *,
    kind: str,
    name: str,
    curves: Sequence[pd.DataFrame] = (),
    histogram: pd.DataFrame | None = None,
    sample: pd.DataFrame | None = None,
) -> Illustrated:
    """One ingredient: its properties and its pictures."""
    columns = [
        Column(plain_text(kind), _cells(properties, "property")),
        Prose(plain_text(name), _cells(properties, "value")),
    ]
    pictures: list[Curves | Sheet] = [
        *(Curves(frame) for frame in curves),
        *([] if histogram is None else [Curves(histogram, filled=True)]),
        *([] if sample is None else [records_table(sample)]),
    ]
    return Illustrated(columns, pictures=pictures)


def _cells(frame: pd.DataFrame, name: str) -> list[str]:
    """The column's texts, with the numbers in them rounded."""
    return [_LONG_NUMBER.sub(lambda found: number(float(found[0])), plain_text(text)) for text in frame[name]]
