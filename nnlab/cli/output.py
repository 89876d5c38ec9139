"""Where answers go: the result on stdout and nothing else there, words about it on stderr.

For a person a table, for a program the very bytes of the CSV file. Nothing heavy is imported before there is something
to show: `nnlab --help` and every usage error come without pandas and torch.
"""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TextIO

from nnlab.core.errors import PartialError
from nnlab.core.spelling import as_flag, spell
from nnlab.report.text import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from rich.text import Text

    from nnlab.report.sheets import Sheet
    from nnlab.settings import DisplaySettings

Format = Literal["table", "csv", "json", "jsonl", "markdown"]

# Of a table that is piped, where COLUMNS says nothing else.
_SIZE_WITHOUT_TERMINAL = (80, 24)


def show(
    frame: pd.DataFrame,
    *,
    table: Callable[[pd.DataFrame], Sheet],
    output: DisplaySettings,
    csv: bytes | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write a result to stdout in the format asked for.

    Args:
        frame: the rows.
        table: what makes a sheet of them; called only where one is wanted.
        output: `format`, `no_color` and `quiet`.
        csv: the file that holds the rows, as it is; made of the frame where there is none.
        notes: what is to be said of the result: below a table, on stderr beside data.

    Raises:
        PartialError: stdout can't be written to, and not because its reader left.
    """
    form = chosen_format(output)
    if form in ("table", "markdown"):
        write(drawn(table(frame).with_notes([spell(text, as_flag) for text in notes]), form, no_color=output.no_color))
        return
    if form == "csv":
        write(_csv_bytes(frame) if csv is None else csv)
    else:
        write("".join(json_text(frame, lines=form == "jsonl")).encode())
    for text in notes:
        note(text, output)


def show_sheets(
    rows: pd.DataFrame,
    sheets: Callable[[], Sequence[Sheet]],
    output: DisplaySettings,
    *,
    csv: bytes | None = None,
    notes: Sequence[str] = (),
) -> None:
    """Write several sheets for a person, or their rows for a program, to stdout.

    Args:
        rows: the result.
        sheets: what makes sheets of it, called only where they are wanted.
        output, csv, notes: as for `show`.
    """
    form = chosen_format(output)
    if form in ("table", "markdown"):
        *first, last = sheets()
        write(
            b"\n".join(
                drawn(sheet, form, no_color=output.no_color)
                for sheet in [*first, last.with_notes([spell(text, as_flag) for text in notes])]
            )
        )
    else:
        show(rows, table=lambda _: sheets()[0], output=output, csv=csv, notes=notes)


def _csv_bytes(frame: pd.DataFrame) -> bytes:
    from nnlab.storage.csv_files import print_csv

    text = io.StringIO()
    print_csv(text, frame)
    return text.getvalue().encode()


def chosen_format(output: DisplaySettings) -> Format:
    """The format to write: what was asked for, else a table for a terminal and CSV for anything else."""
    if output.format != "auto":
        return output.format
    return "table" if sys.stdout.isatty() else "csv"


def drawn(sheet: Sheet, form: Literal["table", "markdown"] = "table", *, no_color: bool = False) -> bytes:
    """A sheet as this stdout can show it: its width, its encoding, its colours; Markdown is always UTF-8."""
    if form == "markdown":
        from nnlab.report.markdown import markdown

        return markdown(sheet).encode()
    from rich.console import Console

    # Drawn aside, since Rich ends the program with code 1 when a pipe closes under it.
    page = io.BytesIO()
    paper = io.TextIOWrapper(page, encoding=_encoding(), errors="replace", newline="\n")
    console = Console(
        file=paper,
        force_terminal=sys.stdout.isatty() or None,
        no_color=no_color or None,
        width=shutil.get_terminal_size(_SIZE_WITHOUT_TERMINAL).columns,
        legacy_windows=False,
    )
    console.print(sheet)
    paper.flush()
    return page.getvalue()


def _encoding() -> str:
    """stdout's encoding; ASCII where the locale asks for it, though Python then writes UTF-8 (PEP 540)."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LANG")
    return "ascii" if locale in ("C", "POSIX") else sys.stdout.encoding or "ascii"


def json_text(frame: pd.DataFrame, *, lines: bool = False) -> Iterator[str]:
    """The rows as JSON objects in full precision, one a line: an array of them, or JSON Lines.

    Numbers that are not finite and empty cells are null, since JSON has no other word for them.
    """
    records = (json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) for record in frame.to_dict("records"))
    if lines:
        yield from (f"{record}\n" for record in records)
        return
    yield "["
    for index, record in enumerate(records):
        yield f"{',' * (index > 0)}\n{record}"
    yield "\n]\n"


def _finite(record: dict[object, object]) -> dict[str, object]:
    from pandas import isna

    def cell(value: object) -> object:
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        return None if isna(value) else value  # type: ignore[call-overload]

    return {str(name): cell(value) for name, value in record.items()}


def write(data: bytes) -> None:
    """Write to stdout, now.

    Raises:
        PartialError: it can't be written to, and not because its reader left.
    """
    with readers_may_leave(sys.stdout):
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            _let_go_of(sys.stdout)
            raise PartialError(
                f"the result could not be written to stdout: {error.strerror}. Results in files are not affected."
            ) from None


@contextmanager
def readers_may_leave(stream: TextIO) -> Iterator[None]:
    """Within, a pipe closed by its reader (`| head -3`) is no error: what follows is written to nowhere."""
    try:
        yield
    except BrokenPipeError:
        _let_go_of(stream)


def close_quietly() -> None:
    """Flush stdout for the last time, so that a reader who left is no matter for the interpreter's own end."""
    with readers_may_leave(sys.stdout):
        sys.stdout.flush()


def _let_go_of(stream: TextIO) -> None:
    """Point the stream at nothing, so that the interpreter's own flush at its end finds no broken pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def error(message: str, *, no_color: bool = False) -> None:
    """Write `error: message` to stderr."""
    from rich.text import Text

    _say(Text.assemble(("error:", "bold red"), " ", _legible(message)), no_color=no_color)


def note(message: str, output: DisplaySettings) -> None:
    """Write a message to stderr, its settings spelled as flags; not with --quiet."""
    from rich.text import Text

    if not output.quiet:
        _say(Text(_legible(spell(message, as_flag))), no_color=output.no_color)


def _say(text: Text, *, no_color: bool) -> None:
    from rich.console import Console

    # Drawn aside as well: a training goes on though nobody reads of it any more.
    paper = io.StringIO()
    terminal = sys.stderr.isatty() or None
    Console(file=paper, force_terminal=terminal, no_color=no_color or None, highlight=False).print(text, soft_wrap=True)
    with readers_may_leave(sys.stderr):
        sys.stderr.write(paper.getvalue())
        sys.stderr.flush()


def _legible(message: str) -> str:
    """The message with control characters escaped; its lines stay lines."""
    return "\n".join(map(plain_text, message.split("\n")))
