"""Where answers go, tried as a shell does: by pipes, terminals and locales."""

from __future__ import annotations

import json
import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nnlab.cli.streams import error, json_text, note, resolve_format, show
from nnlab.commands.command import Answer
from nnlab.core.errors import PartialError
from nnlab.report.records import records_table
from nnlab.settings import OutputSettings

ROOT = Path(__file__).parents[2]
FRAME = pd.DataFrame(
    {"arm": ["0.1", "[red]größe[/red]"], "loss": [0.1 + 0.2, math.inf], "n": [10, 3], "best": [True, False]}
)
BYTES = "arm,loss,n,best\n0.1,0.30000000000000004,10,true\n[red]größe[/red],inf,3,false\n".encode()

# What a command does at its end, in a process of its own.
PROGRAM = r"""
import pandas as pd, sys
from nnlab.cli.streams import close_quietly, error, resolve_format, show
from nnlab.commands.command import Answer
from nnlab.core.errors import NnlabError
from nnlab.settings import OutputSettings
from nnlab.report.records import records_table
frame = pd.DataFrame({"arm": ["[red]gr\u00f6\u00dfe[/red]", "b"] * ROWS, "loss": [0.1 + 0.2, float("inf")] * ROWS})
notes = ["2/\u03bb is [bold]not[/bold] reached"]
answer = Answer(frame, lambda: [records_table(frame).with_notes(notes)], notes=notes)
try:
    for form in FORMS:
        output = OutputSettings(format=form, quiet=QUIET)
        show(answer, output.model_copy(update={"format": resolve_format(output, "csv")}))
except NnlabError as wrong:
    error(str(wrong))
    close_quietly()
    sys.exit(wrong.exit_code)
close_quietly()
"""
# No FORCE_COLOR or COLUMNS of whoever runs the tests.
PLAIN = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "en_US.UTF-8", "PYTHONUTF8": "1"}


def program(*forms: str, rows: int = 2, quiet: bool = False) -> str:
    """The program that shows `rows` rows in each of `forms`, or in the one that suits stdout."""
    return PROGRAM.replace("ROWS", str(rows)).replace("FORMS", repr(forms or ("auto",))).replace("QUIET", repr(quiet))


def piped(code: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, cwd=ROOT, env=PLAIN | environment, check=False)


def in_terminal(code: str, columns: int = 80, **environment: str) -> str:
    """The text that a terminal of this width receives on stdout and stderr."""
    mine, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns)], stdin=theirs, check=True)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, env=PLAIN | environment
    ) as process:
        os.close(theirs)
        received = b""
        try:
            while data := os.read(mine, 65536):
                received += data
        except OSError:  # Linux says EIO where the other side has closed
            pass
        process.wait()
    os.close(mine)
    return received.decode(errors="replace")


def settings(**given: object) -> OutputSettings:
    return OutputSettings(**given)


def write(*, csv: bytes | None = BYTES, notes: tuple[str, ...] = ("a note",), **given: object) -> None:
    """Show FRAME as the answer of a command whose output settings these are."""
    output = settings(**given)
    answer = Answer(FRAME, lambda: [records_table(FRAME).with_notes(notes)], csv=csv, notes=notes)
    show(answer, output.model_copy(update={"format": resolve_format(output, "csv")}))


def shown(capsysbinary, **given: object) -> bytes:
    write(**given)
    return capsysbinary.readouterr().out


def test_a_pipe_gets_the_very_bytes_of_the_file(capsysbinary):
    assert shown(capsysbinary) == BYTES
    assert shown(capsysbinary, format="csv") == BYTES


def test_a_frame_without_a_file_is_written_as_the_file_would_be(capsysbinary):
    write(csv=None, notes=(), format="csv")
    assert capsysbinary.readouterr().out == BYTES


def test_notes_beside_data_go_to_stderr_unless_quiet(capsysbinary):
    write()
    assert capsysbinary.readouterr().err == b"a note\n"
    write(quiet=True)
    assert capsysbinary.readouterr().err == b""


def test_json_is_strict_and_of_full_precision(capsysbinary):
    def refuse(word: str) -> None:
        raise AssertionError(word)

    rows = json.loads(shown(capsysbinary, format="json"), parse_constant=refuse)
    assert rows == [
        {"arm": "0.1", "loss": 0.30000000000000004, "n": 10, "best": True},
        {"arm": "[red]größe[/red]", "loss": None, "n": 3, "best": False},
    ]
    lines = shown(capsysbinary, format="jsonl").decode().splitlines()
    assert [json.loads(line, parse_constant=refuse) for line in lines] == rows


def test_json_of_no_rows_and_of_empty_cells():
    assert json.loads("".join(json_text(FRAME.head(0)))) == []
    frame = pd.DataFrame(
        {"step": pd.array([1, None], "Int64"), "flag": pd.array([None, True], "boolean"), "p": [None, 1.0]}
    )
    assert json.loads("".join(json_text(frame))) == [
        {"step": 1, "flag": None, "p": None},
        {"step": None, "flag": True, "p": 1.0},
    ]


def test_markdown_and_tables_can_be_piped(capsysbinary):
    assert shown(capsysbinary, format="markdown").decode().startswith("| arm | loss | n | best |")
    table = shown(capsysbinary, format="table").decode()
    assert "[red]größe[/red]" in table
    assert "a note" in table
    assert "\x1b" not in table


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "table", "markdown"])
def test_a_reader_who_leaves_is_no_error(form):
    done = subprocess.run(
        ["bash", "-c", 'set -o pipefail; "$0" -c "$1" | head -3', sys.executable, program(form, rows=20000)],
        capture_output=True,
        cwd=ROOT,
        env=PLAIN,
        check=False,
    )
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert b"Traceback" not in done.stderr
    assert b"ipe" not in done.stderr


def test_a_full_disk_is_an_error_of_one_line():
    done = subprocess.run(
        ["bash", "-c", '"$0" -c "$1" > /dev/full', sys.executable, program(quiet=True)],
        capture_output=True,
        cwd=ROOT,
        env=PLAIN,
        check=False,
    )
    assert done.returncode == PartialError.exit_code
    assert done.stderr.decode().startswith("error: the result could not be written to stdout: No space left on device.")
    assert len(done.stderr.splitlines()) == 1


def test_data_are_utf8_whatever_the_locale():
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    forms = ("csv", "json", "jsonl", "markdown")
    assert piped(program(*forms, quiet=True), **ascii_only).stdout.decode("utf-8").count("größe") == 2 * len(forms)


@pytest.mark.parametrize(
    "environment", [{"LC_ALL": "C"}, {"LANG": "C"}, {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}], ids=str
)
def test_an_ascii_terminal_gets_ascii(environment):
    text = in_terminal(program(), **environment)
    assert text.isascii()
    assert "[red]gr??e[/red]" in text
    assert "----" in text
    assert "2/lambda is [bold]not[/bold] reached" in text


def test_a_terminal_gets_a_table_of_its_width_in_colour():
    text = in_terminal(program(), 60)
    assert "─" in text
    assert "\x1b[1m" in text
    assert "[red]größe[/red]" in text
    assert max(map(len, in_terminal(program(), 20).splitlines())) < 20 + len("\x1b[1m\x1b[0m") * 3


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colour_is_left_out_where_it_is_not_wanted(environment):
    code = "from nnlab.cli.streams import error; error('x')"
    assert "\x1b[1;31m" in in_terminal(code)
    assert "31m" not in in_terminal(code, **environment)
    assert "31m" not in in_terminal("from nnlab.cli.streams import error; error('x', no_color=True)")


def test_columns_sets_the_width_of_a_piped_table():
    code = program("table")
    assert len(piped(code, COLUMNS="30").stdout.splitlines()[1].decode()) <= 30
    assert piped(code).stdout == piped(code, COLUMNS="80").stdout


def test_an_error_is_said_as_it_is(capsys):
    error("--name '[red]x[/red]' is \x1b[31mtaken.\nChoose another.")
    assert capsys.readouterr().err == "error: --name '[red]x[/red]' is \\x1b[31mtaken.\nChoose another.\n"


def test_a_long_message_is_not_broken_where_it_could_not_be_copied(capsys):
    note("extend the grid to --lr " + "1e-5:" * 60, settings())
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_nothing_heavy_is_loaded_to_say_an_error():
    code = "import sys, nnlab.cli.streams as o; o.error('x'); print({'torch', 'pandas', 'numpy', 'scipy'} & set(sys.modules))"
    assert piped(code).stdout == b"set()\n"
