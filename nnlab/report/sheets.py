"""A table before it is drawn: columns of text, each with its importance.

A sheet is fitted to the width that it is given: the least important columns go first, words are never cut, and a line says
what is not shown. The same sheet can be written as Markdown. All text is literal: nothing in a cell is read as markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal

from rich.box import SIMPLE_HEAD, Box
from rich.cells import cell_len, chop_cells
from rich.constrain import Constrain
from rich.table import Table
from rich.text import Text

from nnlab.core.spelling import as_flag, spell
from nnlab.report.cells import align
from nnlab.report.text import as_ascii, plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_GAP: Final = 2
_LEAST_FOLD: Final = 20  # a name folds to this width before another column goes
_READABLE: Final = 100  # lines of prose are no longer than this
_NAMED_MISSING: Final = 4  # up to this many missing columns are named, more are counted
_ASCII_HEAD: Final = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


@dataclass(frozen=True)
class Column:
    """A column of a sheet.

    Attributes:
        header: may have several lines.
        cells: one for each row.
        align: `decimal` aligns numbers at their points.
        rank: 0 always stays; of the others, the largest goes first if room is short.
        styles: a Rich style for each cell; empty for none.
        narrow: shorter cells, used before any column goes; empty for none.
        folds: long cells continue on the next line, as names do.
        legend: the meaning of the column in a few words, shown below the table.
    """

    header: str
    cells: Sequence[str]
    align: Literal["left", "decimal"] = "left"
    rank: int = 0
    styles: Sequence[str] = ()
    narrow: Sequence[str] = ()
    folds: bool = False
    legend: str = ""

    @property
    def name(self) -> str:
        """The header in one line."""
        return self.header.replace("\n", " ").strip()

    @property
    def width(self) -> int:
        """The width of its widest line."""
        return max(cell_len(text) for text in [*self.header.split("\n"), *self.cells])

    @property
    def least_width(self) -> int:
        """The least width in which it can be drawn without cutting a word."""
        return min(self.width, max(_LEAST_FOLD, cell_len(self.header))) if self.folds else self.width


@dataclass(frozen=True)
class Line:
    """A line of prose below a sheet; `lead` is its first words, in bold."""

    text: str
    lead: str = ""
    style: str = ""


@dataclass(frozen=True)
class Sheet:
    """Columns, with a title above and prose below.

    Attributes:
        columns: in the order shown, all of one length.
        row_styles: a Rich style for each row; empty for none.
        title: one line above.
        lines: prose below.
        gaps: index of a row -> number of rows left out before it.
        num_unlisted: columns of the file that the sheet leaves out at any width.
        meanings: name of a column -> its meaning, given below the sheet if the column is shown.
    """

    columns: Sequence[Column]
    row_styles: Sequence[str] = ()
    title: str = ""
    lines: Sequence[Line] = ()
    gaps: dict[int, int] = field(default_factory=dict)
    num_unlisted: int = 0
    meanings: Mapping[str, str] = field(default_factory=dict)

    def with_notes(self, notes: Sequence[str]) -> Sheet:
        """The same sheet with notes below, the settings in them spelled as flags."""
        return replace(self, lines=[*self.lines, *(Line(plain_text(spell(note, as_flag))) for note in notes)])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sheet = _ascii_sheet(self) if options.ascii_only else self
        shown = fit_columns([_align_numbers(column) for column in sheet.columns], options.max_width)
        prose = lines_below(sheet, shown)
        if sheet.title:
            yield _prose(Line(sheet.title, style="dim"), options)
        yield _table(sheet, shown, options)
        if prose:
            yield Text("")
        yield from (_prose(line, options) for line in prose)


def _ascii_sheet(sheet: Sheet) -> Sheet:
    columns = [
        replace(
            c,
            header=as_ascii(c.header),
            cells=[*map(as_ascii, c.cells)],
            narrow=[*map(as_ascii, c.narrow)],
            legend=as_ascii(c.legend),
        )
        for c in sheet.columns
    ]
    lines = [Line(as_ascii(line.text), as_ascii(line.lead), line.style) for line in sheet.lines]
    return replace(sheet, columns=columns, lines=lines, title=as_ascii(sheet.title))


def _align_numbers(column: Column) -> Column:
    """The column with its numbers aligned at their points, flush right with its header."""
    if column.align == "left":
        return column
    width = max(map(cell_len, column.header.split("\n")))
    both = ([text.rjust(width) for text in align(cells)] for cells in (column.cells, column.narrow))
    return replace(column, cells=next(both), narrow=next(both))


def fit_columns(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns that fit into `width`: cells are shortened before any column goes, the least important columns first."""
    shown = list(columns)
    for i in sorted(range(len(shown)), key=lambda i: -shown[i].rank):
        if _least_width(shown) > width and shown[i].narrow:
            shown[i] = replace(shown[i], cells=shown[i].narrow)
    while _least_width(shown) > width and any(column.rank for column in shown):
        # Of equal rank the last goes first.
        worst = max(range(len(shown)), key=lambda i: (shown[i].rank, i))
        del shown[worst]
    return shown


def _least_width(columns: Sequence[Column]) -> int:
    return sum(column.least_width for column in columns) + _GAP * (len(columns) - 1)


def _table(sheet: Sheet, shown: Sequence[Column], options: ConsoleOptions) -> Table:
    box = _ASCII_HEAD if options.ascii_only else SIMPLE_HEAD
    table = Table(box=box, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    widths = _widths(shown, options.max_width)
    for column, width in zip(shown, widths, strict=True):
        header = Text(column.header, justify="right" if column.align == "decimal" else "left")
        table.add_column(header, vertical="top", width=width, overflow="fold")
    num_rows = len(shown[0].cells) if shown else 0
    for row in range(num_rows):
        if row in sheet.gaps:
            table.add_row(Text("..." if options.ascii_only else "⋮"), style="dim")
        cells = [
            Text(_fold(c, row, w), style=c.styles[row] if c.styles else "") for c, w in zip(shown, widths, strict=True)
        ]
        table.add_row(*cells, style=sheet.row_styles[row] if sheet.row_styles else None)
    return table


def _widths(columns: Sequence[Column], width: int) -> list[int]:
    """The width of each column: those that fold share the room that the others leave."""
    spare = max(0, width - _least_width(columns))
    widths = []
    for column in columns:
        wanted = min(column.width, column.least_width + spare)
        spare -= wanted - column.least_width
        widths.append(min(wanted, width))
    return widths


def _fold(column: Column, row: int, width: int) -> str:
    """A cell in lines of at most `width`, broken after a separator if there is one."""
    text = column.cells[row]
    if not column.folds or cell_len(text) <= width:
        return text
    lines = [""]
    for part in re.split(r"(?<=[ :,_/])", text):
        if cell_len((lines[-1] + part).rstrip()) > width:
            lines.append("")
        *full, lines[-1] = chop_cells(lines[-1] + part, width) or [""]
        lines[-1:-1] = full
    return "\n".join(line.strip() for line in lines if line)


def _prose(line: Line, options: ConsoleOptions) -> Constrain:
    text = Text.assemble((line.lead, "bold"), line.text, style=line.style)
    return Constrain(text, min(options.max_width, _READABLE))


def lines_below(sheet: Sheet, shown: Sequence[Column]) -> list[Line]:
    """The lines below a sheet of which these columns are shown: its own, the legends, what is left out, the meanings."""
    return [*sheet.lines, *_legend_lines(shown), *_omission_lines(sheet, shown), *_meaning_lines(sheet, shown)]


def _meaning_lines(sheet: Sheet, shown: Sequence[Column]) -> list[Line]:
    known = {column.name: sheet.meanings[column.name] for column in shown if column.name in sheet.meanings}
    return [Line(f": {words}" if name else words, name) for name, words in known.items()]


def _legend_lines(shown: Sequence[Column]) -> list[Line]:
    words = dict.fromkeys(column.legend for column in shown if column.legend)
    return [Line(" ".join(words), style="dim")] if words else []


def _omission_lines(sheet: Sheet, shown: Sequence[Column]) -> list[Line]:
    """The columns and rows that are not shown, and how to see them."""
    lines = []
    names = [column.name for column in sheet.columns if column.name not in {c.name for c in shown}]
    total = len(names) + sheet.num_unlisted
    if names and total <= _NAMED_MISSING:
        lines.append(f"No room for: {', '.join(names)} (a wider terminal, or --format csv).")
    elif total:
        lines.append(f"{total} more column{'s' * (total > 1)}: --format csv shows all.")
    if sheet.gaps:
        hidden = sum(sheet.gaps.values())
        lines.append(f"{hidden} row{'s' * (hidden > 1)} left out: --all shows every row.")
    return [Line(text, style="dim") for text in lines]
