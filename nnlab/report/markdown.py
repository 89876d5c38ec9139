"""Sheets as GitHub's Markdown: a table for a paper or a pull request, with the lines below it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nnlab.report.sheets import lines_below

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnlab.report.sheets import Sheet

# An underscore within a word is not emphasis on GitHub; elsewhere it may be.
_SPECIAL: Final = re.compile(r"[\\`*\[\]<>|~$&]|(?<!\w)_|_(?!\w)")


def escape(text: str) -> str:
    """Escape `text`, so that Markdown shows it as it is."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], text)


def markdown(sheet: Sheet) -> str:
    """The sheet as Markdown, with every column; a line below counts the rows and columns that the sheet itself leaves out."""
    rows = [
        _row([escape(column.name) for column in sheet.columns]),
        _row(["---:" if column.align == "decimal" else "---" for column in sheet.columns]),
    ]
    for index in range(len(sheet.columns[0].cells)):
        if index in sheet.gaps:
            rows.append(_row(["..." for _ in sheet.columns]))
        rows.append(_row([escape(column.cells[index]) for column in sheet.columns]))
    title = [escape(sheet.title)] if sheet.title else []
    return "\n\n".join([*title, "\n".join(rows), *_paragraphs(sheet)]) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _paragraphs(sheet: Sheet) -> list[str]:
    return [
        f"**{escape(line.lead)}**{escape(line.text)}" if line.lead else escape(line.text)
        for line in lines_below(sheet, sheet.columns)
    ]
