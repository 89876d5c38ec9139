"""A new command is one file, one line in the table, and a page: both front ends, help and completion find it there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import nnlab
from nnlab.cli.app import program_of
from nnlab.commands import COMMANDS, EXPERIMENTS
from nnlab.commands.command import Answer, Command, ExperimentCommand
from nnlab.report.records import records_table
from nnlab.settings import DisplaySettings, Settings, argument, setting

# The whole of a command that trains, as a person would add it to nnlab/commands/.
FILE = '''
"""`nnlab compare-width`: hidden layers of several widths."""

from nnlab.commands.command import Answer, Command, ExperimentCommand
from nnlab.report.records import records_table
from nnlab.settings import DisplaySettings, Settings, argument, setting
from nnlab.experiments.comparing import compare_arms, plan_comparison
from nnlab.experiments.factors import key_factor
from nnlab.experiments.study import Study
from nnlab.settings import CompareSettings, setting
from nnlab.settings.readers import OptionalCountList

NAME = "compare-width"


class CompareWidthSettings(CompareSettings):
    """`nnlab compare-width`: the width varied."""

    widths: OptionalCountList = setting("4,8", "Widths to compare.", role="arms", panel="Arms", metavar="N,N")


def plan(settings):
    return plan_comparison(NAME, [key_factor("model", "width", [str(width) for width in settings.widths])], settings)


def conclude(experiment, evidence):
    return compare_arms(experiment, evidence, usual={})


COMMAND = ExperimentCommand(
    NAME,
    "Which width of the hidden layers?",
    CompareWidthSettings,
    Study(plan, conclude),
    examples=("nnlab compare-width --widths 10,20",),
)
'''
SMALL = {"data": "moons:samples=60", "model": "mlp:width=4:depth=1", "epochs": 1, "seeds": 2}


@pytest.fixture
def command(tmp_path, monkeypatch) -> ExperimentCommand:
    """The command, in a package of its own, with its line in the table."""
    package = tmp_path / "more_commands"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "compare_width.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = importlib.import_module("more_commands.compare_width").COMMAND
    monkeypatch.setitem(EXPERIMENTS, found.name, found)
    monkeypatch.setitem(COMMANDS, found.name, found)
    yield found
    for module in [name for name in sys.modules if name.startswith("more_commands")]:
        del sys.modules[module]


def ran(*words: str, **environment: str):
    plain = {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(program_of(COMMANDS), [*words], prog_name="nnlab", env=plain | environment)


def test_it_stands_in_the_help_with_its_options_and_examples(command):
    assert "Which width of the hidden layers?" in ran("--help").stdout
    page = ran("compare-width", "--help").stdout
    assert "Widths to compare. (default: 4,8)" in page
    assert "nnlab compare-width --widths 10,20" in page.rstrip().splitlines()[-1]


def test_the_command_line_and_python_carry_it_out_to_the_same_bytes(command):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    done = ran("compare-width", *words, "--widths", "3,5", "--out", "typed")
    assert done.exit_code == 0, done.stderr
    results = nnlab.run("compare-width", **SMALL, widths=[3, 5], out="called")
    assert list(results.summary["arm"]) == ["3", "5"]
    for name in ("runs.csv", "curves.csv", "summary.csv", "comparisons.csv"):
        assert Path("typed", name).read_bytes() == Path("called", name).read_bytes()
    assert done.stdout == Path("typed", "summary.csv").read_text()


def test_its_results_are_shown_and_its_settings_may_come_from_the_environment(command):
    words = [word for name, value in SMALL.items() for word in (f"--{name}", str(value))]
    assert ran("compare-width", *words, "--out", "here", NNLAB_WIDTHS="2,3").exit_code == 0
    shown = ran("show", "here")
    assert shown.exit_code == 0
    assert "Best: width" in shown.stdout


def test_the_shell_completes_its_name_and_the_values_of_its_options(command):
    def completed(line: str) -> list[str]:
        words = {"_NNLAB_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
        return ran(**words).stdout.split()

    assert completed("nnlab compare-w") == ["compare-width"]
    assert "--widths" in completed("nnlab compare-width --wi")
    assert "kaiming_normal" in completed("nnlab compare-width --init kaiming_n")


def test_a_command_that_trains_nothing_is_one_file_too(monkeypatch):
    class HalfSettings(Settings):
        number: float = argument("A number.", metavar="X")
        times: int = setting(1, "How often.", metavar="N")

    def answer(given, watcher):
        rows = pd.DataFrame({"half": [given.settings.number / 2**given.settings.times]})
        return Answer(rows, lambda: [records_table(rows)])

    half = Command(
        "half", "Half of a number.", HalfSettings, DisplaySettings, answer, lambda _: None, ("nnlab half 3",)
    )
    monkeypatch.setitem(COMMANDS, "half", half)
    assert "Half of a number." in ran("--help").stdout
    assert ran("half", "--help").stdout.rstrip().endswith("nnlab half 3")
    assert ran("half", "3").stdout == "half\n1.5\n"
    assert ran("half", "3", NNLAB_TIMES="2").stdout == "half\n0.75\n"
    assert ran("half").exit_code == 2
    # An argument is what the person types: a variable of its name is a mistake.
    refused = ran("half", NNLAB_NUMBER="3")
    assert refused.exit_code == 2
