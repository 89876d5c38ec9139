"""`nnlab gradcheck` and `nnlab neuron`: settings -> question -> files -> tables. A wrong gradient ends the program with 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from nnlab.cli.account import Account
from nnlab.cli.output import note, show_sheets, write
from nnlab.commands.gradcheck import (
    EXPLANATIONS,
    GradientCheck,
    explanation,
    gradient_check,
    identity_of,
    question_of,
    subjects_of,
)
from nnlab.commands.neuron import neuron_answer
from nnlab.core.errors import UsageError
from nnlab.core.spelling import as_flag, mention, spell
from nnlab.experiments.answer_files import CHAIN, GRADCHECK, NEURON, STEPS, Answer, Clock, write_answer
from nnlab.settings import GradcheckSettings, NeuronSettings, Settings
from nnlab.settings.given import Given
from nnlab.storage.directory import directory_for

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.diagnostics.gradcheck.check_tables import CheckTables
    from nnlab.report.sheets import Sheet

S = TypeVar("S", bound=Settings)


def answer_gradcheck(given: Given[GradcheckSettings]) -> None:
    """Check gradients, or explain the chain rule.

    Raises:
        typer.Exit: with 1 if anything is wrong.
    """
    if question_of(given.settings) in EXPLANATIONS:
        _explain(given)
    else:
        _check(given)


def _check(given: Given[GradcheckSettings]) -> None:
    """Check gradients, write the files and show the tables."""
    check = gradient_check(given.settings)
    path = directory_for("gradcheck", _directory_words(check), check.identity, given.output)
    clock, account = Clock(), Account(given.output)
    from nnlab.diagnostics.gradcheck.check_tables import check_size, check_tables

    subjects, data_hash = subjects_of(check)
    if given.output.dry_run:
        _show_settings(given, {**check_size(subjects, check.method), "directory": path})
        return
    tables = check_tables(subjects, check.method, with_curves=check.settings.explain_step)
    # A cause may name a setting.
    tables.rows["cause"] = [spell(cause, as_flag) for cause in tables.rows["cause"]]
    account.spent(f"the check of {check.title}")
    path = _write_files(_check_answer(check, tables, data_hash, clock), given)
    _show_check(check, tables, given, path)
    if not tables.ok:
        raise typer.Exit(1)


def _directory_words(check: GradientCheck) -> tuple[str, str]:
    """The words in the name of the check's default directory."""
    if check.run is not None:
        return str(check.run.data), str(check.run.model)
    if check.own is not None:
        return check.own.rpartition(":")[2], str(check.settings.input)
    return "catalogue", check.method.dtype


def _check_answer(check: GradientCheck, tables: CheckTables, data_hash: str | None, clock: Clock) -> Answer:
    from nnlab.catalog.custom import content_hash
    from nnlab.ingredients.resolve import own_files

    files = {} if check.run is None else own_files(check.run)
    return Answer(
        command="gradcheck",
        identity=check.identity,
        words=_directory_words(check),
        tables={GRADCHECK: tables.rows} | ({} if tables.curves is None else {STEPS: tables.curves}),
        torch=tables.torch,
        started=clock.started,
        seconds=clock.seconds,
        seeds=(check.method.seed,),
        device=tables.device,
        dtype=check.method.dtype,
        notes=tables.notes,
        facts={word: int((tables.rows["verdict"] == word).sum()) for word in ("ok", "kink", "wrong")},
        data_hash=data_hash,
        file_hashes=files if check.own is None else {check.own: content_hash(check.own)},
    )


def _show_check(check: GradientCheck, tables: CheckTables, given: Given[GradcheckSettings], path: Path) -> None:
    from nnlab.report.gradcheck import curve_sheet, gradient_sheets, junit

    output, method = given.output, check.method
    if output.format == "junit":  # type: ignore[comparison-overlap]
        write(junit(tables.rows))
        return

    def sheets() -> list[Sheet]:
        title = f"{check.title}; {method.dtype}, {', '.join(method.checks)}"
        shown = gradient_sheets(tables.rows, title=title, all_rows=given.settings.all)
        return shown if tables.curves is None else [*shown, curve_sheet(tables.curves)]

    rows = tables.rows if tables.curves is None else tables.curves
    csv = (path / (GRADCHECK if tables.curves is None else STEPS)).read_bytes()
    show_sheets(rows, sheets, output, csv=csv, notes=tables.notes)
    note(f"Files: {path}", output)


def _explain(given: Given[GradcheckSettings]) -> None:
    """Show the chain rule of a computation; write files only if a place for them was named."""
    clock = Clock()
    if given.output.format == "junit":  # type: ignore[comparison-overlap]
        raise UsageError(
            f"{mention('format', 'junit')} applies only to gradient checks. An explanation has the formats table, csv, json, jsonl"
            " and markdown."
        )
    chain, title = explanation(given.settings)
    if given.output.dry_run:
        _show_settings(given, {"numbers": len(chain.nodes), "paths": len(chain.paths)})
        return
    from nnlab.diagnostics.chain.chain_table import chain_table
    from nnlab.report.gradcheck import chain_sheets

    rows = chain_table(chain)
    agrees = "The sum over paths, autograd and differences agree for every input."
    notes = (agrees if chain.ok else "The sum over paths, autograd and differences do not agree.",)
    show_sheets(rows, lambda: chain_sheets(rows, title=title), given.output, notes=notes)
    _keep("gradcheck", given, {CHAIN: rows}, notes, clock)
    if not chain.ok:
        raise typer.Exit(1)


def answer_neuron(given: Given[NeuronSettings]) -> None:
    """Show the numbers inside one neuron; write files only if a place for them was named."""
    clock = Clock()
    answer = neuron_answer(given.settings)
    if given.output.dry_run:
        _show_settings(given, {"rows": len(answer.rows)})
        return
    from nnlab.report.neuron_table import neuron_table

    def sheets() -> list[Sheet]:
        return [neuron_table(answer.rows, title=answer.title, all_rows=given.settings.all)]

    show_sheets(answer.rows, sheets, given.output, notes=answer.notes)
    _keep("neuron", given, {NEURON: answer.rows}, answer.notes, clock)


def _show_settings(given: Given[S], plan: Mapping[str, object]) -> None:
    from nnlab.cli.dry_run import show_settings

    show_settings(given, given.settings, plan)


def _keep(
    command: str, given: Given[S], tables: Mapping[str, pd.DataFrame], notes: Sequence[str], clock: Clock
) -> None:
    """Write files only if a place for them was named: the same answer can be computed again in a moment."""
    if given.output.out is None and given.output.name is None:
        return
    identity = {"the command": command, **identity_of(given.settings)}
    answer = Answer(
        command=command,
        identity=identity,
        words=(command, ""),
        tables=tables,
        torch=version("torch"),
        started=clock.started,
        seconds=clock.seconds,
        notes=notes,
    )
    note(f"Files: {_write_files(answer, given)}", given.output)


def _write_files(answer: Answer, given: Given[S]) -> Path:
    """Write the files of an answer; their directory."""
    results = write_answer(answer, given)
    if results.set_aside is not None:
        note(f"The old results are in {results.set_aside}.", given.output)
    return results.path
