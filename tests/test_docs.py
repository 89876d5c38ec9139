"""The documentation is true: its commands are accepted, its links lead somewhere, its columns are those that are written.

Commands that train are taken as far as their plan, which needs no torch; those that only show something are carried out
and must print what the page says they print.
"""

from __future__ import annotations

import os
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest
import typer

from nnlab.analysis.comparisons import comparison_rows
from nnlab.analysis.selection import Selection
from nnlab.analysis.summaries import summary_rows
from nnlab.catalog.metrics import METRICS
from nnlab.cli.app import app
from nnlab.commands import COMMANDS as TABLE
from nnlab.commands import setting_names
from nnlab.commands.gradcheck import CHAIN_CSV, GRADCHECK_CSV, STEPS_CSV
from nnlab.commands.neuron import NEURON_CSV, NeuronSettings, neuron_answer
from nnlab.core.errors import NnlabError
from nnlab.core.spelling import as_flag
from nnlab.diagnostics.chain.chain_table import CHAIN_COLUMNS
from nnlab.diagnostics.gradcheck.step_curve import StepError
from nnlab.diagnostics.signals.layer_signals import SIGNAL_COLUMNS
from nnlab.settings.given import collect
from nnlab.settings.origins import spell_errors
from nnlab.storage import csv_files
from nnlab.storage.journal import JOURNAL
from nnlab.storage.manifest import MANIFEST, Manifest

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PROGRAM: Final = typer.main.get_command(app)

SHOWN: Final = ("schedule", "list", "neuron")  # nothing is trained: what they print is compared


@dataclass(frozen=True)
class Shown:
    """A line after `$` in a console block, and what the page says it prints."""

    page: Path
    line: str
    output: str

    def __str__(self) -> str:
        return f"{self.page.name}: {' '.join(self.line.split())}"

    @property
    def simple(self) -> list[tuple[dict[str, str], list[str]]]:
        """Its simple commands: variables set in front, and words; what a `>` names is left out."""
        lexer = shlex.shlex(self.line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        parts: list[list[str]] = [[]]
        for word in lexer:
            if set(word) <= set("|;&>"):
                parts.append([">"] if word == ">" else [])
            else:
                parts[-1].append(word)
        return [_assigned(part) for part in parts if part and part[0] != ">"]


def _assigned(words: list[str]) -> tuple[dict[str, str], list[str]]:
    variables = {}
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return variables, words


def blocks(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands_shown() -> Iterator[Shown]:
    for page in PAGES:
        for block in blocks(page, "console"):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                line, _, output = part.replace("\\\n", "").partition("\n")
                yield Shown(page, line, output)


COMMANDS: Final = [shown for shown in commands_shown() if "nnlab" in shown.line]
PRINTED: Final = [c for c in COMMANDS if len(c.simple) == 1 and c.simple[0][1][1] in SHOWN]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the recorded experiments and the example files of every page, where the examples have been run."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for name, code in re.findall(r"`(\w+\.(?:py|toml))`:\n\n```\w+\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            (folder / name).write_text(code)
    here = Path.cwd()
    os.chdir(folder)
    try:
        runpy.run_path("flowers.py")
    finally:
        os.chdir(here)
    return folder


def parsed(words: list[str]) -> tuple[str, dict[str, Any]]:
    """The command that these words name, and what its parameters are; raises what the program would raise."""
    with PROGRAM.make_context("nnlab", [*words], resilient_parsing=True) as context:
        name, command, rest = PROGRAM.resolve_command(context, [*words])
        with command.make_context(name, rest, parent=None) as inner:
            return name, inner.params


def complaint(words: list[str]) -> str:
    """The error that the program reports for a command before training; empty if there is none."""
    try:
        name, given = parsed(words)
        command, known = TABLE[name], setting_names(TABLE.values())
        # Typer makes None of an empty tuple, an option that may be repeated and is not given, only when it calls.
        values = {key: None if value == () else value for key, value in given.items()}
        asked = collect(name, command.settings, values, command.output, known=known)
        with spell_errors(as_flag, asked.origins, asked.config):
            command.check(asked.settings)
    except NnlabError as error:
        return f"error: {error.respell(as_flag)}"
    except typer.TyperException as error:
        return f"error: {error.format_message()}"
    return ""


@pytest.mark.parametrize("shown", COMMANDS, ids=str)
def test_every_command_in_the_docs_is_accepted_or_refused_as_the_page_says(shown, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for variables, words in shown.simple:
        if words[0] != "nnlab":
            continue
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = complaint(words[1:])
        # Another experiment in the directory, a loss of the wrong shape: refused by what comes after the plan.
        assert said in ("", shown.output.rstrip("\n")), f"{shown}: {said}"


def test_the_docs_have_commands_of_every_kind():
    named = {words[1] for shown in COMMANDS for _, words in shown.simple if words[0] == "nnlab"}
    assert named == set(PROGRAM.commands)


@pytest.mark.parametrize("shown", PRINTED, ids=str)
def test_what_a_page_says_is_printed_is_printed(shown, folder, monkeypatch, capfd):
    monkeypatch.chdir(folder)
    for name, value in {"COLUMNS": "80", "NO_COLOR": "1", "NNLAB_FORMAT": "table", "LC_ALL": "C.UTF-8"}.items():
        monkeypatch.setenv(name, value)
    app(shown.simple[0][1][1:], standalone_mode=False)
    printed = [line.rstrip() for line in capfd.readouterr().out.rstrip("\n").split("\n")]
    assert printed == shown.output.rstrip("\n").split("\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page have."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", sorted(PROGRAM.commands))
def test_every_command_has_a_page_and_stands_in_the_readme_and_the_index(name):
    assert (DOCS / f"{name}.md").read_text(encoding="utf-8").startswith(f"# nnlab {name}\n")
    assert f"| [`nnlab {name}`](docs/{name}.md) |" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"]({name}.md)" in (DOCS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_every_page_is_in_the_index_and_its_examples_are_python(page):
    assert page.name == "README.md" or f"]({page.name})" in (DOCS / "README.md").read_text(encoding="utf-8")
    for code in blocks(page, "python"):
        compile(code, str(page), "exec")


def tables(heading: str) -> list[list[str]]:
    """The first columns of the tables under a heading of docs/files.md, without backticks."""
    text = (DOCS / "files.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\|[^\n]*\|\n\|[-|]+\|\n((?:\|[^\n]*\|\n)+)", section, re.MULTILINE)
    return [re.findall(r"^\| `([^`]+)`", rows, re.MULTILINE) for rows in found]


def without_metrics(columns: tuple[str, ...]) -> list[str]:
    return [column for column in columns if column.partition("_")[2] not in METRICS]


def test_the_columns_of_runs_and_curves_are_those_that_are_written():
    assert tables("runs.csv") == [without_metrics(csv_files.run_columns("binary"))]
    assert tables("curves.csv") == [without_metrics(csv_files.curve_columns("regression"))]


def test_the_metrics_named_are_those_that_are_measured():
    text = (DOCS / "files.md").read_text(encoding="utf-8").partition("\n## runs.csv\n")[2].partition("\n## ")[0]
    classes, _, numbers = text.partition("Regression:")
    for part, task in ((classes.partition("Classes:")[2], "multiclass"), (numbers, "regression")):
        named = [name for name in re.findall(r"`val_(\w+)`", part.partition("test_")[0]) if name != "loss"]
        assert named == [name for name, metric in METRICS.items() if task in metric.tasks]


def two_arms() -> pd.DataFrame:
    """Rows of runs.csv: two arms of two seeds."""
    rows = [(f"{arm}{seed}", arm, seed, float(arm), "done", arm + seed, 1.0) for arm in (1, 2) for seed in (0, 1)]
    names = ["run_id", "arm", "seed", "lr", "status", "val_loss", "steps_to_threshold"]
    return pd.DataFrame(rows, columns=names).astype({"arm": str})


def test_the_columns_of_summary_and_comparisons_are_those_that_are_written():
    (row, _) = summary_rows(two_arms(), arms=["1", "2"], factor="lr", selection=Selection("1", frozenset("1"), ""))
    of_arms, of_metrics = tables("summary.csv")
    assert of_metrics == [name for name in row if name.startswith("val_loss_")]
    assert of_arms == [name for name in row if not name.startswith("val_loss_")]
    (row,) = comparison_rows(two_arms(), arms=["1", "2"], baseline="1", metrics=["val_loss"], judged="val_loss")
    assert tables("comparisons.csv") == [list(row)]


def test_the_columns_of_layers_and_the_keys_of_the_manifest_are_those_that_are_written():
    assert tables("layers.csv")[0] == ["run_id", "arm", "seed", "epoch", "layer", "layer_name", *SIGNAL_COLUMNS]
    assert tables("manifest.json") == [["schema_version", *(field.name for field in fields(Manifest))]]


def test_the_columns_of_what_is_explained_are_those_that_are_written():
    assert tables("chain.csv") == [list(CHAIN_COLUMNS)]
    assert tables("steps.csv") == [["parameter", *(field.name for field in fields(StepError))]]
    asked = ({}, {"train": 2}, {"gate": "and"})
    shown = [neuron_answer(NeuronSettings.from_values(given)).rows for given in asked]
    assert tables("neuron.csv") == [list(rows.columns) for rows in shown]


def test_every_file_that_an_experiment_writes_is_described():
    text = (DOCS / "files.md").read_text(encoding="utf-8")
    names = [
        csv_files.RUNS_CSV,
        csv_files.CURVES_CSV,
        csv_files.SUMMARY_CSV,
        csv_files.COMPARISONS_CSV,
        csv_files.TUNING_CSV,
    ]
    of_checks = (GRADCHECK_CSV, STEPS_CSV, CHAIN_CSV, NEURON_CSV)
    for name in (*names, csv_files.LAYERS_CSV, *of_checks, MANIFEST, JOURNAL):
        assert f"\n## {name}\n" in text
        assert f"\n| `{name}` |" in text
