"""Write answers: the result, and nothing else, to stdout; words about it to stderr.

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
    from collections.abc import Iterator

    import pandas as pd
    from rich.text import Text

    from nnlab.commands.command import Answer
    from nnlab.report.sheets import Sheet
    from nnlab.settings import DisplaySettings

# The size of a table in a pipe, if COLUMNS is not set.
_SIZE_WITHOUT_TERMINAL = (80, 24)


def show(answer: Answer, output: DisplaySettings) -> None:
    """Write an answer to stdout in the format asked for, and its remarks to stderr.

    Args:
        answer: the answer of a command.
        output: `format`, no longer auto, `no_color` and `quiet`.

    Raises:
        PartialError: stdout can't be written to, for another reason than a closed pipe.
    """
    form = output.format
    if answer.document is not None:
        write(answer.document)
    elif form == "table" or form == "markdown":
        write(b"\n".join(draw(sheet, form, no_color=output.no_color) for sheet in answer.sheets()))
    else:
        if form == "csv":
            write(_csv_bytes(answer.rows) if answer.csv is None else answer.csv)
        else:
            write("".join(json_text(answer.rows, lines=form == "jsonl")).encode())
        for text in answer.notes:
            note(text, output)
    for text in answer.remarks:
        note(text, output)


def _csv_bytes(frame: pd.DataFrame) -> bytes:
    from nnlab.storage.csv_files import print_csv

    text = io.StringIO()
    print_csv(text, frame)
    return text.getvalue().encode()


def resolve_format(output: DisplaySettings, auto: Literal["csv", "table"]) -> str:
    """The format to write: the one asked for, else a table for a terminal and `auto` for anything else."""
    if output.format != "auto":
        return output.format
    return "table" if sys.stdout.isatty() else auto


def draw(sheet: Sheet, form: Literal["table", "markdown"] = "table", *, no_color: bool = False) -> bytes:
    """The sheet as this stdout can show it: its width, its encoding, its colours; Markdown is always UTF-8."""
    if form == "markdown":
        from nnlab.report.markdown import markdown

        return markdown(sheet).encode()
    from rich.console import Console

    # Drawn into memory, since Rich ends the program with code 1 if the pipe that it writes to is closed.
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
    """stdout's encoding; ASCII if the locale asks for it, although Python then writes UTF-8 (PEP 540)."""
    locale = os.environ.get("LC_ALL") or os.environ.get("LANG")
    return "ascii" if locale in ("C", "POSIX") else sys.stdout.encoding or "ascii"


def json_text(frame: pd.DataFrame, *, lines: bool = False) -> Iterator[str]:
    """The rows as JSON objects in full precision, one per line: an array, or JSON Lines.

    Numbers that are not finite and empty cells are null: JSON has nothing else for them.
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
        PartialError: stdout can't be written to, for another reason than a closed pipe.
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
    """Context manager: if the reader closes the pipe (`| head -3`), discard the rest instead of failing."""
    try:
        yield
    except BrokenPipeError:
        _let_go_of(stream)


def close_quietly() -> None:
    """Flush stdout for the last time, so that a closed pipe does not disturb the interpreter's own end."""
    with readers_may_leave(sys.stdout):
        sys.stdout.flush()


def _let_go_of(stream: TextIO) -> None:
    """Redirect the stream to the null device, so that the interpreter's last flush finds no broken pipe."""
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

    # Drawn into memory first, so that training goes on if the reader of stderr has left.
    paper = io.StringIO()
    terminal = sys.stderr.isatty() or None
    Console(file=paper, force_terminal=terminal, no_color=no_color or None, highlight=False).print(text, soft_wrap=True)
    with readers_may_leave(sys.stderr):
        sys.stderr.write(paper.getvalue())
        sys.stderr.flush()


def _legible(message: str) -> str:
    """The message with control characters escaped; its lines stay lines."""
    return "\n".join(map(plain_text, message.split("\n")))
