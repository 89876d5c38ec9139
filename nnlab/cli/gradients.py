"""`nnlab gradcheck` and `nnlab neuron`: settings -> a study -> files -> tables. A wrong gradient ends the program with 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from nnlab.cli.account import Account
from nnlab.cli.output import note, show_sheets, write
from nnlab.commands.gradcheck import Check, identity_of, planned
from nnlab.commands.neuron import neuron
from nnlab.core.errors import UsageError
from nnlab.diagnostics.chain.explanation import chain_frame, explained
from nnlab.experiments.answer_files import CHAIN, GRADCHECK, NEURON, STEPS, Answer, Clock, write_answer
from nnlab.settings import GradcheckSettings, NeuronSettings, Settings
from nnlab.settings.given import Given
from nnlab.storage.directory import directory_for

if TYPE_CHECKING:
    import pandas as pd

    from nnlab.diagnostics.gradcheck.carried_out import Checked
    from nnlab.report.sheets import Sheet

S = TypeVar("S", bound=Settings)


def answer_gradcheck(given: Given[GradcheckSettings]) -> None:
    """Check gradients, or explain the chain rule.

    Raises:
        typer.Exit: with 1 where anything is wrong.
    """
    if given.settings.explain or given.settings.chain is not None:
        _explain(given)
        return
    check = planned(given.settings)
    path = directory_for("gradcheck", _words(check), check.identity, given.output)
    clock, account = Clock(), Account(given.output)
    from nnlab.diagnostics.gradcheck.carried_out import checked, entries

    if given.output.dry_run:
        _show_settings(given, {**entries(check), "directory": path})
        return
    found = checked(check)
    account.spent(f"the check of {check.words}")
    path = _written(_checked_answer(check, found, clock), given)
    _show_checked(check, found, given, path)
    if not found.ok:
        raise typer.Exit(1)


def _words(check: Check) -> tuple[str, str]:
    """What names the check's directory."""
    settings = check.settings
    if check.run is not None:
        return str(check.run.data), str(check.run.model)
    own = settings.function or settings.module
    return (own.rpartition(":")[2], str(settings.input)) if own else ("catalogue", check.method.dtype)


def _checked_answer(check: Check, found: Checked, clock: Clock) -> Answer:
    from nnlab.catalog.custom import content_hash
    from nnlab.ingredients.resolve import own_files

    own = check.settings.function or check.settings.module
    files = {} if check.run is None else own_files(check.run)
    return Answer(
        command="gradcheck",
        identity=check.identity,
        words=_words(check),
        tables={GRADCHECK: found.rows} | ({} if found.curves is None else {STEPS: found.curves}),
        torch=found.torch,
        started=clock.started,
        seconds=clock.seconds,
        seeds=(check.seed,),
        device=found.device,
        dtype=check.method.dtype,
        notes=found.notes,
        facts={word: int((found.rows["verdict"] == word).sum()) for word in ("ok", "kink", "wrong")},
        data_hash=found.data_hash,
        file_hashes=files if own is None else {own: content_hash(own)},
    )


def _show_checked(check: Check, found: Checked, given: Given[GradcheckSettings], path: Path) -> None:
    from nnlab.report.gradient_tables import curve_sheet, gradient_sheets, junit

    output, method = given.output, check.method
    if output.format == "junit":  # type: ignore[comparison-overlap]
        write(junit(found.rows))
        return

    def sheets() -> list[Sheet]:
        title = f"{check.words}; {method.dtype}, {', '.join(method.checks)}"
        shown = gradient_sheets(found.rows, title=title, all_rows=given.settings.all)
        return shown if found.curves is None else [*shown, curve_sheet(found.curves)]

    rows = found.rows if found.curves is None else found.curves
    show_sheets(
        rows,
        sheets,
        output,
        csv=(path / (GRADCHECK if found.curves is None else STEPS)).read_bytes(),
        notes=found.notes,
    )
    note(f"Files: {path}", output)


def _explain(given: Given[GradcheckSettings]) -> None:
    """Show a computation forward and back; files only where a place for them was named."""
    clock = Clock()
    if given.output.format == "junit":  # type: ignore[comparison-overlap]
        raise UsageError("--format junit is of a check; an explanation has table, csv, json, jsonl and markdown.")
    chain, title = explained(given.settings)
    rows = chain_frame(chain)
    if given.output.dry_run:
        _show_settings(given, {"numbers": len(chain.nodes), "paths": len(chain.paths)})
        return
    from nnlab.report.gradient_tables import chain_sheets

    agrees = "The sum over paths, autograd and differences agree for every input."
    notes = (agrees if chain.ok else "The sum over paths, autograd and differences do not agree.",)
    show_sheets(rows, lambda: chain_sheets(rows, title=title), given.output, notes=notes)
    _keep("gradcheck", given, {CHAIN: rows}, notes, clock)
    if not chain.ok:
        raise typer.Exit(1)


def answer_neuron(given: Given[NeuronSettings]) -> None:
    """Show what happens inside one neuron; files only where a place for them was named."""
    clock = Clock()
    shown = neuron(given.settings)
    if given.output.dry_run:
        _show_settings(given, {"rows": len(shown.rows)})
        return
    from nnlab.report.neuron_table import neuron_table

    def sheets() -> list[Sheet]:
        return [neuron_table(shown.rows, title=shown.title, all_rows=given.settings.all)]

    show_sheets(shown.rows, sheets, given.output, notes=shown.notes)
    _keep("neuron", given, {NEURON: shown.rows}, shown.notes, clock)


def _show_settings(given: Given[S], plan: Mapping[str, object]) -> None:
    from nnlab.cli.dry_run import show_settings

    show_settings(given, given.settings, plan)


def _keep(
    command: str, given: Given[S], tables: Mapping[str, pd.DataFrame], notes: Sequence[str], clock: Clock
) -> None:
    """Write what a person can have again in a moment, where they named a place for it."""
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
    note(f"Files: {_written(answer, given)}", given.output)


def _written(answer: Answer, given: Given[S]) -> Path:
    """Where the answer's files are now."""
    results = write_answer(answer, given)
    if results.set_aside is not None:
        note(f"The old results are in {results.set_aside}.", given.output)
    return results.path
